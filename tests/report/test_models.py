from __future__ import annotations

from typing import get_args

import pytest

from resbench.analysis.judge import judge
from resbench.analysis.tables import empty
from resbench.models import FAMILIES, ZOO
from resbench.report.document import Document
from resbench.report.models_page import models_document
from resbench.report.render import FORMATS, render
from resbench.suite.load import load_suite
from resbench.suite.schema import Origin


@pytest.fixture(scope="module")
def page() -> Document:
    return models_document(judge(empty(load_suite("table5_architecture"))))


def test_every_network_of_the_catalogue_stands_with_its_size_in_every_format(
    page: Document,
) -> None:
    shown = [(row["label"], row["parameters_10"]) for row in page.data["networks"]]
    assert shown == [(entry.label, entry.parameters_10) for entry in ZOO]
    for name in FORMATS:
        size = "10,181,210" if name in ("markdown", "text") else "10181210"
        assert render(page, name).count(size) == 1


def test_the_size_that_disagrees_with_the_published_one_is_marked_and_only_that_one(
    page: Document,
) -> None:
    rows = page.data["networks"]
    published = {row["name"]: row["agrees"] for row in rows if row["published"]}
    assert [name for name, agrees in published.items() if not agrees] == ["attention-452"]
    text = render(page, "markdown")
    assert "8.6\xa0M\xa0≠" in text
    assert "unresolved" in text


def test_every_choice_in_every_network_stands_with_its_origin(page: Document) -> None:
    text = render(page, "markdown")
    assert text.count("Where its choices come from: ") == len(FAMILIES) == 3
    assert "interpolation" in text
    for family, declared in FAMILIES.items():
        shown = page.data["choices"][family]
        assert [mark.item for mark in shown] == [part.item for part in declared.provenance]
        assert {mark.origin for mark in shown} <= set(get_args(Origin))


def test_table_5_stands_row_by_row_as_built_next_to_what_is_published(page: Document) -> None:
    values = {(v.row, v.column): v for v in page.data["values"]}
    wrong = {key for key, v in values.items() if v.verdict == "differs"}
    assert sum(v.verdict == "equal" for v in values.values()) == 32
    assert wrong == {(row, net) for row in ("conv", "depth")
                     for net in ("attention-56", "attention-92")}  # fmt: skip
    assert values["conv", "attention-56"].built == "5x5x32, stride=1"
    assert values["stage3_attention", "attention-92"].built == "x3"
    assert values["stage4_units", "output_size"].built == "4x4x1024"
    assert values["dropout", "attention-56"].number == ""
    assert values["params", "attention-92"].mean == pytest.approx(65.040202)
    assert values["depth", "attention-56"].built == "47"
