"""The page of `resbench compare`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from resbench.analysis.compare import ALPHA, CellPair, Comparison
from resbench.analysis.names import bounds, finite, mean_sd, p_value, sentence, signed
from resbench.report.document import SCHEMA, Block, Folded, Grid, Heading, Items, Page, Text
from resbench.stats.contrasts import ArmResult
from resbench.stats.intervals import summarise
from resbench.words import count


def compare_page(found: Comparison) -> Page:
    """Return what agrees, what does not, and what has no partner."""
    blocks: list[Block] = [
        Heading(1, "A against B"),
        Items((
            f"A: {found.a.label} ({count(len(found.a.records), 'run')})",
            f"B: {found.b.label} ({count(len(found.b.records), 'run')})",
        )),
        Text(verdict(found)),
    ]  # fmt: skip
    problems = (*found.a.problems, *found.b.problems)
    blocks += [Text("Refused or damaged, not compared:"), Items(problems)] if problems else []
    blocks += _same_blocks(found)
    blocks += _cell_blocks(found)
    if found.left_out:
        title = f"Without a partner ({len(found.left_out)})"
        blocks.append(Folded(title, (Items(found.left_out),)))
    return Page(tuple(blocks), _data(found))


def verdict(found: Comparison) -> str:
    """Return the answer in one or two sentences."""
    parts = []
    if found.same:
        n, bad = len(found.same), len(found.disagreeing)
        agree = f"{count(n, 'run')} of equal key: " + (
            f"{bad} disagree." if bad else "identical in every bit that repeats."
        )
        parts.append(agree)
    if found.cells:
        n = len(found.cells)
        better = sum(pair.verdict == "B is better" for pair in found.cells)
        worse = sum(pair.verdict == "B is worse" for pair in found.cells)
        decided = sum(pair.adjusted_p is not None for pair in found.cells)
        parts.append(
            f"{count(n, 'cell')} under different keys, {decided} with enough seeds to decide: "
            f"B better in {better}, worse in {worse} (Holm, {ALPHA:.0%})."
        )
    return " ".join(parts) or "Nothing to compare: no run of A has a partner in B."


def _same_blocks(found: Comparison) -> Iterator[Block]:
    for run in found.disagreeing:
        yield Heading(2, f"Same key, other numbers: {run.label} ({run.key[:16]})")
        yield Items(run.differences)
        made = "; ".join(run.conditions) or "both were made by one version in one environment"
        yield Text(f"{sentence(made)}.")


def _cell_blocks(found: Comparison) -> Iterator[Block]:
    if not found.cells:
        return
    yield Heading(2, "Cell by cell")
    contexts = dict.fromkeys(pair.contexts for pair in found.cells)
    yield Items(tuple(f"A: {a}; B: {b}" for a, b in contexts))
    header = ("cell", "A", "B", "B - A\npp", "95%", "p", "p\nHolm", "p\nimages", "verdict")
    yield Grid(header, tuple(_row(pair) for pair in found.cells), "lrrrrrrrl")
    yield Text(
        "Test errors in percent, mean ± sd over seeds (how many). p: t-test over seeds, paired "
        "where they are common; p images: for other test images, the (seed, image) bootstrap, at "
        "one seed McNemar's mid-p of these two networks."
    )


def _row(pair: CellPair) -> tuple[str, ...]:
    return (
        pair.place,
        *(_arm(arm, lost) for arm, lost in zip(pair.arms, pair.diverged, strict=True)),
        signed(finite(pair.estimate.effect)),
        bounds(pair.estimate.interval(0.95)),
        p_value(pair.p),
        p_value(pair.adjusted_p),
        p_value(pair.images_p),
        pair.verdict,
    )


def _arm(arm: ArmResult, lost: int) -> str:
    n = len(arm.errors)
    if not n:
        return f"{lost} diverged"
    summary = summarise(arm.errors)
    return mean_sd(summary.mean, finite(summary.sd), n, n) + (f", {lost} diverged" if lost else "")


def _data(found: Comparison) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "a": {"label": found.a.label, "runs": len(found.a.records)},
        "b": {"label": found.b.label, "runs": len(found.b.records)},
        "verdict": verdict(found),
        "same_key": [
            {
                "key": run.key,
                "label": run.label,
                "identical": not run.differences,
                "differences": list(run.differences),
                "conditions": list(run.conditions),
            }
            for run in found.same
        ],
        "cells": [_pair_data(pair) for pair in found.cells],
        "left_out": list(found.left_out),
        "problems": [*found.a.problems, *found.b.problems],
    }


def _pair_data(pair: CellPair) -> dict[str, Any]:
    interval = pair.estimate.interval(0.95)
    return {
        "cell": pair.place,
        "contexts": list(pair.contexts),
        "seeds": [list(arm.seeds) for arm in pair.arms],
        "errors": [list(arm.errors) for arm in pair.arms],
        "diverged": list(pair.diverged),
        "difference_pp": finite(pair.estimate.effect),
        "interval": [finite(interval.low), finite(interval.high)],
        "p": pair.p,
        "p_holm": pair.adjusted_p,
        "p_images": pair.images_p,
        "verdict": pair.verdict,
    }
