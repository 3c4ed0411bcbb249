from __future__ import annotations

import json
from pathlib import Path

import pytest

from resbench.analysis import architecture
from resbench.analysis.architecture import count_places
from resbench.analysis.names import ORIGINS
from resbench.analysis.tables import empty
from resbench.errors import UsageError
from resbench.models import PROVENANCE, ZOO
from resbench.report.document import Page
from resbench.report.networks import models_page
from resbench.report.render import RENDERERS
from resbench.suite.catalog import load_suite, suite_folder

# The whole catalogue is counted by the tests of the networks; these are all that is printed of it.
SOME = tuple(entry for entry in ZOO if entry.printed or entry.note or entry.label == "Attention-56")


@pytest.fixture(scope="module")
def page() -> Page:
    """The page of `resbench models`; everything in it is counted here, once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(architecture, "ZOO", SOME)
        return models_page(empty(load_suite("table5_architecture")))


def test_networks_are_counted_and_agree_with_the_catalogue(page: Page) -> None:
    counted = page.data["networks"]
    assert [row["label"] for row in counted] == [entry.label for entry in SOME]
    for row, entry in zip(counted, SOME, strict=True):
        assert row["parameters_10"] == entry.parameters_10
        assert row["parameters_100"] == entry.parameters_100
        assert row["macs"] / 1e6 == pytest.approx(entry.macs_m, abs=0.06)
        assert row["trunk_depth"] == entry.trunk_depth


def test_the_size_that_disagrees_with_print_is_marked_and_only_that_one(page: Page) -> None:
    printed = {row["name"]: row["agrees"] for row in page.data["networks"] if row["printed"]}
    assert [name for name, agrees in printed.items() if not agrees] == ["attention-452"]
    text = RENDERERS["markdown"](page)
    assert "8.6\xa0M\xa0≠" in text
    assert "unresolved" in text


def test_every_choice_in_every_network_stands_with_its_origin(page: Page) -> None:
    text = RENDERERS["markdown"](page)
    assert text.count("Where its choices come from: ") == len(PROVENANCE) == 3
    assert "interpolation" in text
    for family, marks in PROVENANCE.items():
        shown = page.data["choices"][family]
        assert [mark["item"] for mark in shown] == [mark.item for mark in marks]
        assert {mark["origin"] for mark in shown} <= set(ORIGINS)


def test_table_5_is_printed_row_by_row_as_built_beside_print(page: Page) -> None:
    places = {(p["row"], p["column"]): p for p in page.data["architecture"]}
    wrong = {key for key, p in places.items() if p["verdict"] == "differs"}
    assert wrong == {(row, net) for row in ("conv", "depth")
                     for net in ("attention-56", "attention-92")}  # fmt: skip
    assert places["conv", "attention-56"]["ours"] == "5x5x32, stride=1"
    assert places["stage3_attention", "attention-92"]["ours"] == "x3"
    assert places["stage4_units", "output_size"]["ours"] == "4x4x1024"
    assert places["dropout", "attention-56"]["printed"] is None
    assert places["params", "attention-92"]["mean"] == pytest.approx(65.040202)
    assert places["depth", "attention-56"]["ours"] == "47"


def test_every_format_has_every_network(page: Page) -> None:
    for name in ("markdown", "rich", "json", "csv"):
        text = RENDERERS[name](page)
        assert text.count("10,181,210" if name in ("markdown", "rich") else "10181210") == 1
    assert json.loads(RENDERERS["json"](page))["schema"] == 1


def test_a_network_that_cannot_be_counted_is_named_with_the_suite(tmp_path: Path) -> None:
    text = (suite_folder() / "table5_architecture.yaml").read_text()
    path = tmp_path / "odd.yaml"
    path.write_text(text.replace("{model.name: attention-92}", "{model.name: attention-93}"))
    with pytest.raises(UsageError, match=r"odd\.yaml: cannot count this network: unknown network"):
        count_places(empty(load_suite(str(path))))
