"""The page of ``resbench models``: Table 5 and every network, counted against the published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from resbench.analysis import SCHEMA
from resbench.analysis.judge import JudgedTable
from resbench.analysis.names import listed
from resbench.models import FAMILIES, ZOO, Family, ZooEntry
from resbench.report import text
from resbench.report.document import (
    Block,
    Cell,
    Document,
    Fold,
    Heading,
    Items,
    Number,
    Paragraph,
    Table,
)
from resbench.report.tables import table_blocks
from resbench.suite.schema import half_width

HEADER = (
    "network", "parameters\n10 classes", "100 classes", "with BN\nstatistics", "published",
    "MACs (M)", "depth",
)  # fmt: skip


def models_document(table: JudgedTable) -> Document:
    """Return Table 5 row by row and every network of the catalogue."""
    rows = [_network(entry) for entry in ZOO]
    blocks: list[Block] = [Heading(1, "Networks"), Heading(2, table.title), *table_blocks(table)]
    for name, family in FAMILIES.items():
        own = [row for row in rows if row["family"] == name]
        notes = [row["note"] for row in own if row["note"]]
        cells = tuple(_cells(row, notes) for row in own)
        blocks += [Heading(2, f"Networks of {family.authors}"), Table(HEADER, cells, "lrrrrrr")]
        blocks += [Items(tuple(notes), numbered=True)] if notes else []
        blocks.append(_choices(family))
    blocks.append(
        Paragraph(
            "Trainable parameters; multiply-accumulates of one 32x32 image, forward, convolutions "
            "and classifier; depth in weighted layers from image to logits. "
            f"{text.VALUES['equal'][0]} one of the counts rounds to the published size, "
            f"{text.VALUES['differs'][0]} none does."
        )
    )
    data = {
        "schema": SCHEMA,
        "values": table.values,
        "networks": rows,
        "choices": {name: family.provenance for name, family in FAMILIES.items()},
    }
    return Document(tuple(blocks), data, rows)


def _choices(family: Family) -> Fold:
    """Return where every choice in the networks of a family comes from."""
    marks = family.provenance
    rows = tuple((m.item, m.value, m.origin, m.place, m.reason) for m in marks)
    header = ("choice", "value", "origin", "place", "why")
    counted = Counter(mark.origin for mark in marks)
    title = listed(f"{n} {origin}" for origin, n in counted.items())
    return Fold(f"Where its choices come from: {title}", (Table(header, rows, "lllll"),))


def _network(entry: ZooEntry) -> dict[str, Any]:
    counts = (entry.parameters_10, entry.parameters_100, entry.with_bn_statistics_10)
    fits = entry.published and any(_rounds(n, entry.published) for n in counts if n is not None)
    return {**vars(entry), "options": dict(entry.options), "agrees": fits}


def _rounds(counted: int, published: str) -> bool:
    """Whether a count rounds to the published millions."""
    millions = published.removesuffix("M").strip()
    return abs(counted / 1e6 - float(millions)) <= half_width(millions)


def _cells(row: Mapping[str, Any], notes: list[str]) -> tuple[Cell, ...]:
    same, other = text.VALUES["equal"][0], text.VALUES["differs"][0]
    mark = {None: "", True: same, False: other}[row["agrees"]]
    note = (notes.index(row["note"]) + 1,) if row["note"] else ()
    counts = (row[n] for n in ("parameters_10", "parameters_100", "with_bn_statistics_10"))
    return (
        Number(row["label"], notes=note),
        *("" if n is None else f"{n:,}" for n in counts),
        Number(row["published"] or "", mark=mark),
        f"{row['macs_m']:,.1f}",
        str(row["trunk_depth"]),
    )
