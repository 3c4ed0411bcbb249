"""The page of ``resbench compare``."""

from __future__ import annotations

from collections.abc import Iterator

from resbench.analysis.compare import CellArm, CellPair, Comparison
from resbench.report import text
from resbench.report.document import Block, Document, Fold, Heading, Items, Number, Paragraph, Table
from resbench.stats.multiplicity import ALPHA
from resbench.words import count

VERDICTS = {
    "b_better": "B is better",
    "b_worse": "B is worse",
    "no_difference": "no difference shown",
    "too_few_seeds": "too few seeds",
    "networks_differ": "these two networks differ; one seed decides nothing",
    "networks_alike": "these two networks do not differ; one seed decides nothing",
}


def compare_document(found: Comparison) -> Document:
    """Return what agrees, what does not, and what has no partner."""
    sides = zip("AB", (found.a, found.b), found.runs, strict=True)
    blocks: list[Block] = [
        Heading(1, "A against B"),
        Items(tuple(f"{name}: {label} ({count(runs, 'run')})" for name, label, runs in sides)),
        Paragraph(summary(found)),
    ]
    if found.problems:
        blocks += [Paragraph("Refused, not compared:"), Items(found.problems)]
    for run in found.disagreeing:
        made = "; ".join(run.conditions) or "one version in one environment made both"
        blocks += [
            Heading(2, f"Same key, other numbers: {run.label}"),
            Items(run.differences),
            Paragraph(f"{text.sentence(made)}."),
        ]
    blocks += _cell_blocks(found)
    if found.left_out:
        blocks.append(Fold(f"Without a partner ({len(found.left_out)})", (Items(found.left_out),)))
    return Document(tuple(blocks), found)


def summary(found: Comparison) -> str:
    """Return the answer in one or two sentences."""
    parts = []
    if found.same_key:
        n, bad = len(found.same_key), len(found.disagreeing)
        agree = f"{bad} disagree." if bad else "identical in every bit that repeats."
        parts.append(f"{count(n, 'run')} of equal key: {agree}")
    if found.cells:
        kinds = [pair.verdict for pair in found.cells]
        decided = sum(pair.p_holm is not None for pair in found.cells)
        parts.append(
            f"{count(len(kinds), 'cell')} under different keys, {decided} with enough seeds to "
            f"decide: B better in {kinds.count('b_better')}, worse in {kinds.count('b_worse')} "
            f"(Holm, {ALPHA:.0%})."
        )
    return " ".join(parts) or "Nothing to compare: no run of A has a partner in B."


def _cell_blocks(found: Comparison) -> Iterator[Block]:
    if not found.cells:
        return
    yield Heading(2, "Cell by cell")
    settings = dict.fromkeys((pair.a.setting, pair.b.setting) for pair in found.cells)
    yield Items(tuple(f"A: {a}; B: {b}" for a, b in settings))
    header = ("cell", "A", "B", "B - A\npp", "95%", "p", "p\nHolm", "p\nimages", "verdict")
    yield Table(header, tuple(map(_row, found.cells)), "lrrrrrrrl")
    yield Paragraph(
        "Test errors in percent, mean ± sd over seeds (how many). p: Welch's t-test over runs, by "
        "ranks where a run diverged or is far from the others; p images: for other test images "
        "too, at one seed McNemar's mid-p of these two networks."
    )


def _row(pair: CellPair) -> tuple[str | Number, ...]:
    return (
        pair.cell,
        _arm(pair.a),
        _arm(pair.b),
        Number(text.signed(pair.difference), pair.difference),
        text.bounds(pair.interval),
        text.p_value(pair.p),
        text.p_value(pair.p_holm),
        text.p_value(pair.p_images),
        VERDICTS[pair.verdict],
    )


def _arm(arm: CellArm) -> Number:
    n, lost = len(arm.errors), f"{arm.diverged} diverged"
    if not n:
        return Number(lost)
    shown = text.mean_sd(arm.mean, arm.sd, n, n) + (f", {lost}" if arm.diverged else "")
    return Number(shown, arm.mean, arm.sd)
