"""The page of ``resbench plan``: what would run, how long it takes, what it can decide."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

from resbench.analysis import SCHEMA
from resbench.analysis.names import listed, setting_label
from resbench.analysis.plan import PlannedTime, Power, buy, claim_powers, total_s
from resbench.models import FAMILIES
from resbench.report.document import Block, Command, Document, Heading, Items, Paragraph, Table
from resbench.report.text import factor, percent, sentence
from resbench.runner.devices import Device, like_the_first
from resbench.stats.multiplicity import ALPHA
from resbench.suite.expand import Expanded
from resbench.suite.schema import SIGNAL_METRICS
from resbench.words import count, duration

ESTIMATED = "~"
"""Before a time that follows from sizes, not from measured speeds."""
ESTIMATES = (
    f"{ESTIMATED}: estimated from the network's size and the kind of device, to within a factor of "
    "about two; the first run of each kind replaces the estimate by a measurement."
)
OWN_SIZE = (
    "The size of a network of your own is unknown before its first run: until then its time may be "
    "wrong by any factor."
)
UNPROVEN = (
    "On a GPU, `--engine graph` is expected to be about four times as fast, and `--precision bf16` "
    "to halve what a step reads and writes. Neither has been run on a GPU yet, so the default is "
    "the eager engine in the sources' fp32."
)


Cells = Mapping[str, list[PlannedTime]]
"""The runs of a suite by cell; a run of two cells is one object."""


def plan_document(
    suites: Sequence[Expanded],
    runs: Sequence[PlannedTime],
    devices: Sequence[Device],
    missing: Mapping[str, str],
    command: str,
    budget_s: float | None = None,
    *,
    overview: bool = False,
    recorded: Container[str] = (),
) -> Document:
    """Return the plan of all suites in one setting, as an ``overview`` with a line a suite.

    ``missing`` says for each data set that is not available what to do; ``recorded`` are the keys
    of all finished runs.
    """
    device, workers = devices[0], like_the_first(devices)
    if budget_s is not None:
        runs = buy(runs, workers, budget_s)
    groups = [_cells(expanded, runs) for expanded in suites]
    powers = [
        () if overview else _powers(*pair, recorded) for pair in zip(suites, groups, strict=True)
    ]
    todo = _todo(runs)
    estimated = sum(not run.measured for run in todo)
    finished, started = (sum(run.bought == kind for run in runs) for kind in ("whole", "part"))
    blocks: list[Block] = [Heading(1, "Plan"), Paragraph(_total(todo, runs, device, workers))]
    if todo and device.is_gpu:
        blocks.append(Paragraph(UNPROVEN))
    if missing:
        blocks.append(Items(list(missing.values())))
    if budget_s is not None and todo:
        blocks.append(Paragraph(_bought(budget_s, finished, started, groups)))
    if overview:
        blocks += _overview(suites, groups)
    else:
        blocks += [Command(command)] if todo else []
        for each in zip(suites, groups, powers, strict=True):
            blocks += _suite_blocks(*each, budget=budget_s is not None)
    if estimated:
        blocks.append(Paragraph(ESTIMATES))
        specs = (cell.spec for each in suites for cell in each.cells if cell.spec is not None)
        if any(spec.model.family not in FAMILIES for spec in specs):
            blocks.append(Paragraph(OWN_SIZE))
    data = dict.fromkeys(choice for each in suites for choice in each.context.data.values())
    fields = {
        "schema": SCHEMA,
        "setting": setting_label(suites[0], data),
        "device": device.label,
        "workers": workers,
        "data_missing": dict(missing),
        "runs": {"done": len(runs) - len(todo), "todo": len(todo)},
        "left_s": math.fsum(run.left_s for run in todo),
        "estimated_runs": estimated,
        "budget": budget_s and {"budget_s": budget_s, "finished": finished, "started": started},
        "suites": list(map(_suite_data, suites, groups, powers)),
    }
    return Document(blocks, fields)


def answer(power: Power) -> str:
    """Return how many seeds would decide a claim, in a few words."""
    if power.sought_pp is None:
        return "no published size"
    if power.sought_pp <= 0:
        return "not in the published numbers"
    if math.isinf(power.spread.sd_pp):
        return "not known yet"
    if power.seeds_needed is None:
        return "more than 8 seeds"
    enough = power.seeds_needed <= power.seeds
    return f"{power.seeds} are enough" if enough else f"{power.seeds_needed} seeds"


def _cells(expanded: Expanded, runs: Sequence[PlannedTime]) -> Cells:
    name = expanded.loaded.suite.name
    found = {cell.id: list[PlannedTime]() for cell in expanded.cells if cell.spec is not None}
    for run in runs:
        for suite, cell in run.cells:
            if suite == name:
                found[cell].append(run)
    return found


def _powers(expanded: Expanded, cells: Cells, recorded: Container[str]) -> Sequence[Power]:
    done = {id_: [run.record for run in runs if run.record] for id_, runs in cells.items()}
    return claim_powers(expanded, done, recorded)


def _todo(runs: Iterable[PlannedTime]) -> list[PlannedTime]:
    return [run for run in runs if run.record is None]


def _total(
    todo: Sequence[PlannedTime], runs: Sequence[PlannedTime], device: Device, workers: int
) -> str:
    if not runs:
        return "Nothing to train: these tables are counted."
    if not todo:
        return f"Nothing to do: {count(len(runs), 'run')} recorded."
    return (
        f"{count(len(todo), 'run')} to do, {len(runs) - len(todo)} recorded; "
        f"{count(workers, 'worker')} on {device.label}. Time: {_time(todo, workers)} in all."
    )


def _time(runs: Sequence[PlannedTime], workers: int = 1) -> str:
    """Return what runs have left, marked where one of them is only estimated."""
    mark = "" if all(run.measured for run in runs) else ESTIMATED
    return f"{mark}{duration(total_s(runs, workers))}" if runs else ""


def _bought(budget_s: float, finished: int, started: int, groups: Sequence[Cells]) -> str:
    if not finished:
        return f"In {duration(budget_s)} no run would finish; {count(started, 'run')} would start."
    counts = [
        sum(run.record is not None or run.bought == "whole" for run in own)
        for cells in groups
        for own in cells.values()
        if own
    ]
    fewest, most = min(counts), max(counts)
    seeds = count(most, "seed") if fewest == most else f"{fewest} to {count(most, 'seed')}"
    more = f", {started} more in part" if started else ""
    return (
        f"{duration(budget_s)} is enough for {count(finished, 'run')}{more}: each cell then has "
        f"{seeds}."
    )


def _overview(suites: Sequence[Expanded], groups: Sequence[Cells]) -> Iterator[Block]:
    rows: list[tuple[str, ...]] = []
    for expanded, cells in zip(suites, groups, strict=True):
        runs = list({id(run): run for own in cells.values() for run in own}.values())
        todo = _todo(runs)
        counts = (str(len(cells)), str(len(runs) - len(todo)), str(len(todo)), _time(todo))
        rows.append((expanded.loaded.suite.name, *(counts if runs else ("counted", "", "", ""))))
    yield Table(("suite", "cells", "done", "to do", "left on\none worker"), rows, "lrrrr")
    yield Paragraph(
        f"All of tier {suites[0].context.tier}; `--tier` plans another. A run that several suites "
        "need is trained once. For one suite in detail: `resbench plan SUITE`."
    )


def _suite_blocks(
    expanded: Expanded, cells: Cells, powers: Sequence[Power], *, budget: bool
) -> Iterator[Block]:
    suite = expanded.loaded.suite
    yield Heading(2, f"{suite.name}: {suite.title}")
    if not cells:
        yield Paragraph("Counted, not trained: see `resbench report`.")
        return
    yield Paragraph(f"{sentence(setting_label(expanded))} · seeds {listed(expanded.seeds)}.")
    header = ["cell", "done", "to do", "one run", "left on\none worker"]
    header += ["in budget"] if budget else []
    rows = [_row(id_, runs)[: len(header)] for id_, runs in cells.items() if runs]
    yield Table(header, rows, "l" + "r" * (len(header) - 1))
    serves = {name for runs in cells.values() for run in runs for name, _ in run.cells}
    if shared := serves - {suite.name}:
        yield Paragraph(f"Runs shared with {listed(sorted(shared))} are trained once.")
    if powers:
        yield from _power_blocks(expanded, powers)


def _row(cell: str, runs: Sequence[PlannedTime]) -> tuple[str, ...]:
    todo = _todo(runs)
    fresh = [run for run in todo if not run.epochs]
    started = f" ({len(todo) - len(fresh)} started)" if len(fresh) < len(todo) else ""
    took = [run.record.timing.total_s for run in runs if run.record]
    return (
        cell,
        str(len(runs) - len(todo)),
        f"{len(todo)}{started}",
        _time(fresh[:1]) or (duration(sum(took) / len(took)) if took else ""),
        _time(todo),
        str(sum(run.bought == "whole" for run in runs)),
    )


def _power_blocks(expanded: Expanded, powers: Sequence[Power]) -> Iterator[Block]:
    yield Paragraph("What these seeds can decide about each claim before anything more is trained:")
    rows = [
        (p.claim.text, _size(p, p.published_pp), str(p.seeds), _size(p, p.spread.sd_pp),
         _detects(p), answer(p))
        for p in powers
    ]  # fmt: skip
    header = ("claim", "published", "seeds", "sd", "detects", "seeds for\nthe published")
    yield Table(header, rows, "lrrrrl")
    sources = "; ".join(dict.fromkeys(power.spread.source for power in powers))
    sizes = {power.claim.ours: power.family for power in powers}
    family = count(sizes.get(False, 0) or sizes[True], "claim")
    ours = f" ({sizes[True]} for ours)" if len(sizes) > 1 else ""
    fewest = min(power.seeds for power in powers)
    few = "; fewer than 3 seeds decide nothing" if fewest < 3 else ""
    skipped = fewest < len(expanded.seeds)
    first = f"; seeds {listed(expanded.declared_seeds)} are judged first" if skipped else ""
    alike = any(power.claim.margin_pp is not None for power in powers)
    margin = "; of cells claimed to be alike, the margin that they would be shown to keep"
    shown = " (or that show two cells to be alike, if that is claimed)" if alike else ""
    yield Items([
        "Detects: the smallest true difference that these seeds find with probability 0.8 at a "
        f"level of {ALPHA:.0%}, after Holm's correction for {family}{ours}"
        f"{margin if alike else ''}{few}{first}.",
        "Seeds for the published: the fewest of 3, 5 and 8 seeds (the looks) that find "
        f"a true difference as large as the published one{shown}; in a chain, in every step.",
        f"Sd of one run: {sources}.",
        "Numbers are percentage points, or factors for sizes within a network; of a chain, the "
        "published number is that of its smallest step.",
    ])  # fmt: skip


def _detects(power: Power) -> str:
    known = math.isfinite(power.detectable_pp) or math.isinf(power.spread.sd_pp)
    return _size(power, power.detectable_pp) if known else "nothing"


def _size(power: Power, value: float | None) -> str:
    """Return points, or the factor that they are of a size within a network."""
    if value == math.inf:
        return "unknown"
    if value is None or power.claim.metric not in SIGNAL_METRICS:
        return percent(value)
    return f"×{factor(value)}"


def _suite_data(expanded: Expanded, cells: Cells, powers: Sequence[Power]) -> dict[str, Any]:
    return {
        "suite": expanded.loaded.suite.name,
        "title": expanded.loaded.suite.title,
        "seeds": list(expanded.seeds),
        "cells": [
            {
                "cell": id_,
                "done": [run.seed for run in runs if run.record],
                "todo": [
                    {"seed": r.seed, "epochs": r.epochs, "left_s": r.left_s,
                     "estimated": not r.measured}
                    for r in _todo(runs)
                ],
            }
            for id_, runs in cells.items()
        ],
        "claims": [{**vars(power), "answer": answer(power)} for power in powers],
    }  # fmt: skip
