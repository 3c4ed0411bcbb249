"""The page of ``resbench compare``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from resbench.analysis.compare import CellArm, CellPair, Comparison, PairKind
from resbench.report import text
from resbench.report.document import Block, Document, Fold, Heading, Items, Number, Paragraph, Table
from resbench.stats.multiplicity import ALPHA
from resbench.words import count

VERDICTS: dict[PairKind, str] = {
    "b_better": "B is better",
    "b_worse": "B is worse",
    "no_difference": "no difference shown",
    "too_few_seeds": "too few seeds",
    "networks_differ": "the networks differ; one seed a side decides nothing",
    "networks_alike": "the networks do not all differ; one seed a side decides nothing",
}


def compare_document(found: Comparison) -> Document:
    """Return what agrees, what does not, and what has no partner."""
    sides = zip("AB", (found.a, found.b), found.runs, strict=True)
    blocks: list[Block] = [
        Heading(1, "A against B"),
        Items([f"{name}: {label} ({count(runs, 'run')})" for name, label, runs in sides]),
        Paragraph(_summary(found)),
    ]
    if found.problems:
        blocks += [Paragraph("Refused, not compared:"), Items(found.problems)]
    for run in found.disagreeing:
        made = "; ".join(run.conditions) or "both are of one version and one environment"
        blocks += [
            Heading(2, f"Same key, other numbers: {run.label}"),
            Items(run.differences),
            Paragraph(f"{text.sentence(made)}."),
        ]
    blocks += _cells(found.cells) if found.cells else ()
    if found.left_out:
        blocks.append(Fold(f"Not compared ({len(found.left_out)})", [Items(found.left_out)]))
    return Document(blocks, found)


def _summary(found: Comparison) -> str:
    """Return the answer in one or two sentences."""
    parts = []
    if found.same_key:
        n, bad = len(found.same_key), len(found.disagreeing)
        agree = f"{bad} disagree." if bad else "errors, curves and predictions are identical."
        parts.append(f"{count(n, 'run')} with the same key: {agree}")
    if found.cells:
        kinds = [pair.verdict for pair in found.cells]
        decided = sum(pair.p_holm is not None for pair in found.cells)
        parts.append(
            f"{count(len(kinds), 'cell')} under different keys, {decided} with enough seeds to "
            f"decide: B better in {kinds.count('b_better')}, worse in {kinds.count('b_worse')} "
            f"(Holm, {ALPHA:.0%})."
        )
    none = "Nothing to compare: A and B have no cell in common, or several settings of it."
    return " ".join(parts) or none


def _cells(pairs: Sequence[CellPair]) -> Iterator[Block]:
    yield Heading(2, "Cell by cell")
    settings = dict.fromkeys((pair.a.setting, pair.b.setting) for pair in pairs)
    yield Items([f"A: {a}; B: {b}" for a, b in settings])
    header = ("cell", "A", "B", "B - A\npp", "95%", "p", "p\nHolm", "p\nimages", "verdict")
    yield Table(header, list(map(_row, pairs)), "lrrrrrrrl")
    yield Paragraph(
        "Test errors in percent, mean ± sd (number of seeds). p: Welch's t-test over runs, or a "
        "rank test if a run diverged or is far from the others. p images: test images also count "
        "as drawn by chance; with one seed on a side, the largest mid-p of McNemar's test on two "
        "networks."
    )
    if any(arm.diverged for pair in pairs for arm in (pair.a, pair.b)):
        yield Paragraph("A diverged run counts as guessing in B - A and p, and not in the means.")


def _row(pair: CellPair) -> list[str | Number]:
    low, high = pair.interval
    return [
        pair.cell,
        _arm(pair.a),
        _arm(pair.b),
        Number(text.signed(pair.difference), pair.difference),
        f"{low:+.2f} to {high:+.2f}" if math.isfinite(high - low) else "unknown",
        *(Number(text.p_value(p), p) for p in (pair.p, pair.p_holm, pair.p_images)),
        VERDICTS[pair.verdict],
    ]


def _arm(arm: CellArm) -> Number:
    n, mean = len(arm.errors), arm.mean if arm.errors else None
    return Number(text.of_runs(mean, arm.sd, n, n, arm.diverged), mean)
