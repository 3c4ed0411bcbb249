"""The page of ``resbench models``: Table 5 and every network, counted against the published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from resbench.analysis import SCHEMA
from resbench.analysis.judge import JudgedTable
from resbench.analysis.names import listed
from resbench.analysis.values import rounds_to
from resbench.models import FAMILIES, ZOO, ZooEntry
from resbench.models.family import Part
from resbench.report import document as doc
from resbench.report import text
from resbench.report.tables import table_blocks
from resbench.suite.schema import PaperValue

HEADER = (
    "network", "parameters\n10 classes", "100 classes", "with BN\nstatistics", "published",
    "MACs (M)", "depth",
)  # fmt: skip
SIGNS = {True: text.VALUES["equal"][0], False: text.VALUES["differs"][0]}
"""For a network whose size agrees with the published one, or does not."""


def models_document(table: JudgedTable) -> doc.Document:
    """Return Table 5 row by row and every network of the catalogue."""
    networks = [_network(entry) for entry in ZOO]
    blocks: list[doc.Block] = [
        doc.Heading(1, "Networks"),
        doc.Heading(2, table.title),
        *table_blocks(table),
    ]
    for name, family in FAMILIES.items():
        own = [network for network in networks if network["family"] == name]
        notes = [network["note"] for network in own if network["note"]]
        rows = [_row(network, notes) for network in own]
        blocks += [
            doc.Heading(2, f"Networks of {family.authors}"),
            doc.Table(HEADER, rows, "lrrrrrr"),
        ]
        blocks += [doc.Items(notes, numbered=True)] if notes else []
        blocks.append(_choices(family.provenance))
    blocks.append(
        doc.Paragraph(
            "Parameters are trainable ones. MACs are the multiply-accumulates of convolutions and "
            "classifier in a forward pass of one 32x32 image. Depth counts the weighted layers "
            f"from image to logits. {SIGNS[True]}: one of the counts rounds to the published size; "
            f"{SIGNS[False]}: none does."
        )
    )
    data = {
        "schema": SCHEMA,
        "values": table.values,
        "networks": networks,
        "choices": {name: family.provenance for name, family in FAMILIES.items()},
    }
    return doc.Document(blocks, data, networks)


def _choices(marks: Sequence[Part]) -> doc.Fold:
    rows = [(mark.item, mark.value, mark.origin, mark.place, mark.reason) for mark in marks]
    title = listed(f"{n} {origin}" for origin, n in Counter(m.origin for m in marks).items())
    table = doc.Table(("choice", "value", "origin", "place", "why"), rows, "lllll")
    return doc.Fold(f"Where its choices come from: {title}", [table])


def _network(entry: ZooEntry) -> dict[str, Any]:
    counts = (entry.parameters_10, entry.parameters_100, entry.with_bn_statistics_10)
    millions = entry.published and PaperValue(value=entry.published.removesuffix("M").strip())
    agrees = millions and any(rounds_to(n / 1e6, millions) for n in counts if n is not None)
    return {**vars(entry), "options": dict(entry.options), "agrees": agrees}


def _row(network: Mapping[str, Any], notes: Sequence[str]) -> list[doc.Cell]:
    counts = (network[n] for n in ("parameters_10", "parameters_100", "with_bn_statistics_10"))
    note = [notes.index(network["note"]) + 1] if network["note"] else ()
    return [
        doc.Number(network["label"], notes=note),
        *("" if n is None else f"{n:,}" for n in counts),
        doc.Number(network["published"] or "", mark=SIGNS.get(network["agrees"], "")),
        f"{network['macs_m']:,.1f}",
        str(network["trunk_depth"]),
    ]
