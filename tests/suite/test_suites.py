"""The shipped suites: they expand, state the published numbers, and claim what these hold."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

import tools.facts
from resbench.analysis.declared import keeps_to_source, ledgers_of
from resbench.models import FAMILIES
from resbench.suite.claims import ParsedClaim
from resbench.suite.expand import Cell, parsed_claims
from resbench.suite.load import SOURCES, Loaded, load_suite, suite_folder, suite_names
from resbench.suite.provenance import ledger
from resbench.suite.schedule import resolve
from resbench.suite.schema import ERROR_METRICS, Claim, PaperValue, Protocol, Suite
from tools.schemas import FILES, schema

from ..factory import suite_under
from ..mini import leaves

NAMES = suite_names()
YAML_FILES = sorted(suite_folder().rglob("*.yaml"))
MEASURED = {
    "train_aug": "train_top1_err",
    "train": "train_top1_err",
    "val_in_train": "val_in_train_err",
    "test": "test_top1_err",
}


@cache
def loaded(name: str) -> Loaded:
    return load_suite(name)


expanded = cache(suite_under)


@cache
def facts() -> dict[str, dict[str, str]]:
    rows = tools.facts.read()
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row for row in rows}


def trained(name: str, tier: str = "paper") -> list[Cell]:
    return [cell for cell in expanded(name, tier=tier).cells if cell.spec is not None]


def published(name: str) -> Iterator[tuple[str, str, PaperValue]]:
    for row, columns in loaded(name).suite.published.items():
        for column, value in columns.items():
            yield row, column, value


def metric_of(name: str, column: str, value: PaperValue) -> str:
    return value.metric or loaded(name).suite.table.columns[column].metric


def words(name: str) -> str:
    """Everything that a suite tells the reader besides its numbers."""
    notes = [value.note or "" for _, _, value in published(name)]
    return " ".join([*loaded(name).suite.footnotes, *notes])


def is_number(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+)?(e-\d+)?", text) is not None


def test_the_tables_of_the_sources_are_listed_first_and_in_order() -> None:
    tables, others = NAMES[:8], NAMES[8:]
    assert [name.partition("_")[0] for name in tables] == [f"table{n}" for n in range(1, 9)]
    assert others == sorted(others)


def test_every_shipped_protocol_is_that_of_a_suite() -> None:
    used = {loaded(name).protocol.name for name in NAMES}
    assert used == {path.stem for path in suite_folder().glob("protocols/*.yaml")}


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_expands_to_a_run_of_its_own(name: str) -> None:
    cells = trained(name)
    assert len({cell.spec.key for cell in cells if cell.spec}) == len(cells)
    assert bool(cells) == loaded(name).suite.train
    assert len(parsed_claims(expanded(name))) == len(loaded(name).suite.claims)


def test_a_run_of_two_tables_has_one_key() -> None:
    def key(suite: str, cell: str) -> str:
        return expanded(suite).cell(cell).at_seed(1).key

    attention_56 = {
        key("table1_arl_vs_nal", "attention-56/arl"),
        key("table2_depth", "attention-56/cifar10"),
        key("table3_mask", "encoder-decoder"),
        key("attention_type", "mixed"),
        key("depth", "attention-56/cifar10"),
    }
    assert len(attention_56) == 1
    report_56 = {
        key("table6_arl_vs_nal_report", "attention-56/arl"),
        key("table7_cifar10_report", "attention-56"),
        key("optimizer", "adam/lr-1e-4"),
    }
    assert len(report_56) == 1


@pytest.mark.parametrize("name", NAMES)
def test_every_published_value_is_the_value_of_its_facts(name: str) -> None:
    for row, column, value in published(name):
        assert value.facts, f"{name} {row}/{column} names no fact"
        for fact in value.facts:
            assert facts()[fact]["value"] == (value.value or ""), f"{name} {row}/{column}"


HOMELESS = [row for row in facts().values() if re.match(r"\w+: ", row["home"])]


def test_every_fact_is_published_where_it_says_and_nowhere_else_or_has_another_use() -> None:
    homes = defaultdict(set)
    for name in NAMES:
        for row, column, value in published(name):
            for fact in value.facts:
                homes[fact].add(f"{name}:{row}/{column}")
    assert homes.keys() | {row["id"] for row in HOMELESS} == facts().keys()
    for fact, entry in facts().items():
        stated = set() if entry in HOMELESS else set(entry["home"].split())
        assert stated == homes[fact], fact
    assert len(facts()) == 247


@pytest.mark.parametrize("row", HOMELESS, ids=lambda row: row["id"])
def test_a_fact_outside_the_tables_is_used_where_it_says(row: dict[str, str]) -> None:
    kind, _, rest = row["home"].partition(": ")
    value = row["value"]
    if kind == "footnote":
        assert re.search(rf"(?<![\d.]){re.escape(value)}(?![\d]|\.\d)", words(rest))
    elif kind == "suite":
        assert rest in NAMES
    elif kind == "claim":
        name, *ids = rest.split()
        claims = {claim.id: claim for claim in loaded(name).suite.claims}
        assert claims.keys() >= set(ids)
        assert not value or {claims[claim_id].published_pp for claim_id in ids} == {value}
    elif kind == "setting":
        name, cell, path = rest.split()
        setting = dict(leaves(expanded(name).cell(cell).at_seed(1).canonical()))[path]
        if isinstance(setting, list) and is_number(value):
            assert float(value) in {drop["at"] for drop in setting}
        elif isinstance(setting, int | float) and is_number(value):
            assert setting == float(value)
    else:
        assert kind == "none"
        assert rest


@pytest.mark.parametrize("name", NAMES)
def test_a_published_error_is_compared_with_a_measured_one_on_the_same_images(
    name: str,
) -> None:
    for row, column, value in published(name):
        metric = metric_of(name, column, value)
        really = value.really or value.claims or "test"
        if metric in ERROR_METRICS and really in MEASURED:
            assert MEASURED[really] == metric, f"{name} {row}/{column}"
        if value.really is not None and value.claims is None:  # only a source claims a split
            assert value.place in {"a figure", "a log", "a notebook"}, f"{name} {row}/{column}"


@pytest.mark.parametrize("name", ["table6_arl_vs_nal_report", "table7_cifar10_report",
                                  "table8_cifar100_report"])  # fmt: skip
def test_no_error_that_the_report_publishes_is_ranked_as_a_test_error(name: str) -> None:
    errors = [v for _, c, v in published(name) if metric_of(name, c, v) in ERROR_METRICS]
    assert len(errors) == 4
    assert all(value.really not in {None, "test"} for value in errors)


def paper_terms(name: str, claim: Claim, parsed: ParsedClaim) -> list[Decimal] | None:
    """Return the published value of each term; None where one is not published."""
    errors = {
        expanded(name).cell_of(row, column).id: Decimal(value.value)
        for row, column, value in published(name)
        if value.value is not None and metric_of(name, column, value) == claim.metric
    }
    if not errors.keys() >= {*parsed.cells}:
        return None
    return [errors[last] - sum(errors[cell] for cell in rest) for *rest, last in parsed.terms]


@pytest.mark.parametrize(
    ("name", "number"),
    [(name, i) for name in NAMES for i in range(len(loaded(name).suite.claims))],
)
def test_a_claim_holds_in_the_published_numbers_with_the_published_margin(
    name: str, number: int
) -> None:
    claim, parsed = loaded(name).suite.claims[number], parsed_claims(expanded(name))[number]
    values = paper_terms(name, claim, parsed)
    if values is None:
        assert claim.published_pp is None
        return
    assert parsed.operator in {"<", "monotone_increasing", "gap_grows"}
    assert all(low < high for low, high in pairwise(values))
    if parsed.operator != "gap_grows":
        assert claim.published_pp == str(values[-1] - values[0])


@pytest.mark.parametrize("name", NAMES)
def test_a_suite_that_departs_from_its_source_everywhere_makes_claims_of_ours_alone(
    name: str,
) -> None:
    claims = loaded(name).suite.claims
    assert keeps_to_source(ledgers_of(expanded(name))) or all(claim.ours for claim in claims)


@pytest.mark.parametrize("name", NAMES)
def test_no_claim_states_a_size_for_its_test_asks_for_the_order_alone(name: str) -> None:
    for claim in loaded(name).suite.claims:
        assert not re.search(r"\d (points|pp)\b|fails", claim.text), claim.text


@pytest.mark.parametrize("name", NAMES)
def test_a_column_is_one_kind_of_error_unless_a_note_says_that_two_are_swapped(name: str) -> None:
    for row, column, value in published(name):
        if value.metric not in {None, loaded(name).suite.table.columns[column].metric}:
            in_words = value.metric not in ERROR_METRICS or "swapped" in (value.note or "")
            assert in_words, f"{name} {row}/{column}"


@pytest.mark.parametrize("name", NAMES)
def test_tier_tiny_is_two_short_epochs_of_a_narrow_network(name: str) -> None:
    for cell in trained(name, "tiny"):
        assert cell.spec is not None
        data, training = cell.spec.data, cell.spec.training
        assert cell.spec.model.width <= 0.25
        assert data.train_images is not None
        assert training.val_in_train <= data.train_images
        steps = resolve(cell.spec, data.train_images)
        assert steps.epochs == 2
        assert steps.total <= 16


def test_tier_tiny_keeps_cells_apart() -> None:
    # Those two have axes of what a tier sets: width, length, batch.
    for name in set(NAMES) - {"ladder", "report_choices"}:
        tiny, paper = trained(name, "tiny"), trained(name)
        keys = {cell.spec.key for cell in [*tiny, *paper] if cell.spec}
        assert len(keys) == len(tiny) + len(paper), name


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: path.stem)
def test_every_file_names_the_schema_that_its_editor_needs(path: Path) -> None:
    first, *_ = path.read_text(encoding="utf-8").splitlines()
    found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert found is not None
    kind = {"protocols": "protocol", "tiers": "tier"}.get(path.parent.name, "suite")
    kind = "sources" if path.name == SOURCES else kind
    assert (path.parent / found[1]).resolve() == suite_folder() / "schema" / f"{kind}.json"


@pytest.mark.parametrize("kind", FILES)
def test_the_published_schema_is_that_of_the_code(kind: str) -> None:
    text = (suite_folder() / "schema" / f"{kind}.json").read_text(encoding="utf-8")
    assert json.loads(text) == schema(FILES[kind]), "run python -m tools.schemas"


def test_the_published_schema_knows_every_setting_and_no_other() -> None:
    level = schema(Suite)["$defs"]["Level"]["properties"]
    ours, own = level["set"]["propertyNames"]["anyOf"]
    known = set(ours["enum"])
    used = {entry.path for name in NAMES for cell in trained(name)
            for entry in ledger(expanded(name), cell)}  # fmt: skip
    never_set = {"data.id", "tier", "scale", "engine", "precision", "seed"}
    assert used - known == never_set
    assert known - used <= {path for path in known if any(u.startswith(f"{path}.") for u in used)}
    assert re.fullmatch(own["pattern"], "model.kernel"), "an option of a user's own family"
    assert not re.fullmatch(own["pattern"], "training.kernel")
    *_, family = schema(Protocol)["properties"]["model"]["anyOf"]
    assert family["properties"]["family"] == {"not": {"enum": [*FAMILIES]}}, "the user's own too"
