"""The page of ``resbench models``: the architecture table and the zoo, counted beside print."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from resbench.analysis.architecture import zoo
from resbench.analysis.judge import judge
from resbench.analysis.names import listed, superscript
from resbench.analysis.tables import FilledTable
from resbench.models.catalogue import AUTHORS, ZooEntry
from resbench.models.provenance import PROVENANCE
from resbench.report.data import place_data
from resbench.report.document import SCHEMA, Folded, Grid, Heading, Items, Page, Text
from resbench.report.page import MARKS, table_blocks
from resbench.stats.verdicts import parse_printed

if TYPE_CHECKING:
    from resbench.models.measure import Size

HEADER = (
    "network",
    "parameters\n10 classes",
    "100 classes",
    "with BN\nstatistics",
    "printed",
    "MACs (M)",
    "depth",
)


def models_page(table: FilledTable) -> Page:
    """Return Table 5 row by row and every network of the catalogue, all of them counted now."""
    judged, suite = judge(table), table.expanded.loaded.suite
    rows = [_zoo_row(*found) for found in zoo()]
    blocks = [Heading(1, "Networks"), Heading(2, suite.title), *table_blocks(judged)]
    for family in dict.fromkeys(row["family"] for row in rows):
        own = [row for row in rows if row["family"] == family]
        notes = [row["note"] for row in own if row["note"]]
        blocks += [
            Heading(2, f"Networks of {AUTHORS[family]}"),
            Grid(HEADER, tuple(_cells(row, notes) for row in own), "lrrrrrr"),
        ]
        if notes:
            blocks.append(Items(tuple(notes), numbered=True))
        blocks.append(_choices(family))
    blocks.append(Text(
        "Trainable parameters; multiply-accumulates of one 32x32 image, forward, convolutions and "
        "classifier; depth in weighted layers from image to logits. "
        + " · ".join(" ".join(MARKS[kind]) for kind in ("equal", "differs")) + "."
    ))  # fmt: skip
    data = {
        "schema": SCHEMA,
        "architecture": [place_data(place) for place in judged.places],
        "networks": rows,
        "choices": {family: [vars(mark) for mark in PROVENANCE[family]] for family in PROVENANCE},
    }
    return Page(tuple(blocks), data, rows)


def _choices(family: str) -> Folded:
    """Return where every choice in the networks of a family comes from."""
    marks = PROVENANCE[family]
    rows = tuple((m.item, m.value, m.origin, m.place, m.reason) for m in marks)
    header = ("choice", "value", "origin", "place", "why")
    counted = Counter(mark.origin for mark in marks)
    title = listed(f"{n} {origin}" for origin, n in counted.items())
    return Folded(f"Where its choices come from: {title}", (Grid(header, rows, "lllll"),))


def _zoo_row(entry: ZooEntry, ten: Size, hundred: Size, macs: int) -> dict[str, Any]:
    counts = (ten.parameters, hundred.parameters, ten.with_bn_statistics)
    return {
        "family": entry.family,
        "name": entry.name,
        "options": dict(entry.options),
        "label": entry.label,
        "parameters_10": ten.parameters,
        "parameters_100": hundred.parameters,
        "with_bn_statistics_10": ten.with_bn_statistics,
        "printed": entry.printed,
        "agrees": None if entry.printed is None else any(_rounds(n, entry.printed) for n in counts),
        "macs": macs,
        "trunk_depth": ten.trunk_depth,
        "note": entry.note,
    }


def _rounds(count: int, printed: str) -> bool:
    """Whether a count, however it was counted, rounds to the printed millions."""
    millions, rounding = parse_printed(printed.removesuffix("M").strip())
    return abs(count / 1e6 - millions) <= rounding


def _cells(row: dict[str, Any], notes: list[str]) -> tuple[str, ...]:
    mark = {None: "", True: MARKS["equal"][0], False: MARKS["differs"][0]}[row["agrees"]]
    note = superscript([notes.index(row["note"]) + 1]) if row["note"] else ""
    return (
        f"{row['label']} {note}".strip(),
        f"{row['parameters_10']:,}",
        f"{row['parameters_100']:,}",
        f"{row['with_bn_statistics_10']:,}",
        f"{row['printed'] or ''} {mark}".strip(),
        f"{row['macs'] / 1e6:,.1f}",
        str(row["trunk_depth"]),
    )
