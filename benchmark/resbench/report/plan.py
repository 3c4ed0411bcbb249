"""The page of ``resbench plan``: what would run, how long it takes, what it can decide."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from resbench.analysis import SCHEMA
from resbench.analysis.names import listed, setting_label
from resbench.analysis.power import Power, claim_powers
from resbench.report.document import Block, Command, Document, Heading, Items, Paragraph, Table
from resbench.report.text import percent, sentence
from resbench.store.records import RunRecord
from resbench.suite.expand import Expanded
from resbench.words import count, duration

ESTIMATED = "~"
"""Before a time that follows from sizes, not from measured speeds."""


@dataclass(frozen=True)
class PlannedTime:
    """One run of a plan; a run that serves several cells counts once."""

    places: tuple[tuple[str, str], ...]
    """(suite, cell)."""
    seed: int
    record: RunRecord | None
    begun_epochs: int
    left_s: float
    """Expected seconds that are left on one worker."""
    measured: bool = False
    """Whether they follow from the speed of such runs, not from the network's size alone."""


@dataclass(frozen=True)
class Machine:
    """Where the plan would run."""

    device: str
    workers: int
    data_missing: Mapping[str, str]
    """For each data set that is not available a line: what to do."""


@dataclass(frozen=True)
class Bought:
    """What a budget is enough for."""

    budget_s: float
    finished: frozenset[int]
    """Runs that end in time, by their position in the plan."""
    started: int
    """Runs that are trained in part."""


def buy(runs: Sequence[PlannedTime], workers: int, budget_s: float) -> Bought:
    """Hand the runs to the workers in order, each until it ends or the time does."""
    free_at, finished, started = [0.0] * workers, set(), 0
    for number, run in enumerate(runs):
        if run.record is not None:
            continue
        start = heapq.heappop(free_at)
        end = start + run.left_s
        if end <= budget_s:
            finished.add(number)
        elif start < budget_s:
            started += 1
        heapq.heappush(free_at, end)
    return Bought(budget_s, frozenset(finished), started)


def plan_document(
    suites: Sequence[Expanded],
    runs: Sequence[PlannedTime],
    machine: Machine,
    command: str,
    budget_s: float | None = None,
    *,
    overview: bool = False,
) -> Document:
    """Return the plan of all suites in one setting, as an ``overview`` with a line a suite."""
    bought = None if budget_s is None else buy(runs, machine.workers, budget_s)
    by_place: dict[tuple[str, str], list[PlannedTime]] = {}
    for run in runs:
        for place in run.places:
            by_place.setdefault(place, []).append(run)
    in_time = {id(runs[number]) for number in bought.finished} if bought else None
    todo = [run for run in runs if run.record is None]
    blocks: list[Block] = [Heading(1, "Plan"), Paragraph(_total(todo, len(runs), machine))]
    missing = tuple(machine.data_missing.values())
    blocks += [Items(missing)] if missing else []
    if bought is not None and todo:
        blocks += [Paragraph(_bought(bought, by_place, in_time or set()))]
    if todo and not overview:
        blocks += [Command(command)]
    data, lines = [], []
    for expanded in suites:
        name = expanded.loaded.suite.name
        cells = {c.id: by_place.get((name, c.id), []) for c in expanded.cells if c.spec is not None}
        powers: Sequence[Power] = ()
        if overview:
            lines.append(_suite_row(name, cells))
        else:
            records = {id_: [r.record for r in found if r.record] for id_, found in cells.items()}
            powers = claim_powers(expanded, records)
            blocks += _suite_blocks(expanded, cells, powers, in_time)
        data.append({
            "suite": name,
            "title": expanded.loaded.suite.title,
            "seeds": list(expanded.seeds),
            "cells": [_cell_data(id_, found) for id_, found in cells.items()],
            "claims": [{**vars(power), "answer": answer(power)} for power in powers],
        })  # fmt: skip
    if overview:
        blocks += [
            Table(("suite", "cells", "done", "to do", "left on\none worker"), tuple(lines), "lrrrr")
        ]
        shared = "A run that several suites need is trained once. " if _is_shared(runs) else ""
        blocks += [Paragraph(f"{shared}One of them in detail: `resbench plan SUITE`.")]
    if any(not run.measured for run in todo):
        blocks += [
            Paragraph(
                f"{ESTIMATED}: estimated from the size of the network and the kind of device, to "
                "a factor of two or so; the first run of a kind measures it."
            )
        ]
    plain = {
        "schema": SCHEMA,
        "setting": setting_label(suites[0]),
        "device": machine.device,
        "workers": machine.workers,
        "data_missing": dict(machine.data_missing),
        "runs": {"done": len(runs) - len(todo), "todo": len(todo)},
        "left_s": _sum(todo),
        "estimated_runs": sum(not run.measured for run in todo),
        "budget": None
        if bought is None
        else {
            "budget_s": bought.budget_s,
            "finished": len(bought.finished),
            "started": bought.started,
        },
        "suites": data,
    }
    return Document(tuple(blocks), plain)


def _total(todo: Sequence[PlannedTime], runs: int, machine: Machine) -> str:
    done = f"{runs - len(todo)} recorded"
    if not runs:
        return "Nothing to train: these tables are counted."
    if not todo:
        return f"Nothing to do: {count(runs, 'run')} recorded."
    where = f"{count(machine.workers, 'worker')} on {machine.device}"
    text = f"{count(len(todo), 'run')} to do, {done}; {where}."
    # The last run of a plan leaves the other workers idle, so the longest one is a bound as well.
    time = max(_sum(todo) / machine.workers, *(run.left_s for run in todo))
    return f"{text} Time: {_time(todo, time)} in all."


def _time(runs: Iterable[PlannedTime], seconds: float) -> str:
    """Return a duration, marked where one of the runs it is made of is only estimated."""
    return f"{'' if all(run.measured for run in runs) else ESTIMATED}{duration(seconds)}"


def _bought(
    bought: Bought, cells: Mapping[tuple[str, str], Sequence[PlannedTime]], in_time: Set[int]
) -> str:
    """Say what a budget is enough for."""
    counts = [
        sum(run.record is not None or id(run) in in_time for run in found)
        for found in cells.values()
    ]
    fewest, most = min(counts), max(counts)
    seeds = count(most, "seed") if fewest == most else f"{fewest} to {count(most, 'seed')}"
    more = f", {bought.started} more in part" if bought.started else ""
    return (
        f"{duration(bought.budget_s)} are enough for {count(len(bought.finished), 'run')}{more}: "
        f"each cell then has {seeds}."
    )


def _is_shared(runs: Iterable[PlannedTime]) -> bool:
    return any(len({suite for suite, _ in run.places}) > 1 for run in runs)


def _suite_row(suite: str, cells: Mapping[str, Sequence[PlannedTime]]) -> tuple[str, ...]:
    runs = list({id(run): run for found in cells.values() for run in found}.values())
    todo = [run for run in runs if run.record is None]
    if not runs:
        return (suite, "counted", "", "", "")
    left = _time(todo, _sum(todo)) if todo else ""
    return (suite, str(len(cells)), str(len(runs) - len(todo)), str(len(todo)), left)


def _sum(runs: Sequence[PlannedTime]) -> float:
    return math.fsum(run.left_s for run in runs)


def _suite_blocks(
    expanded: Expanded,
    cells: Mapping[str, Sequence[PlannedTime]],
    powers: Sequence[Power],
    in_time: Set[int] | None,
) -> Iterator[Block]:
    suite = expanded.loaded.suite
    yield Heading(2, f"{suite.name}: {suite.title}")
    if not cells:
        yield Paragraph("Counted, not trained: see `resbench report`.")
        return
    yield Paragraph(f"{sentence(setting_label(expanded))} · seeds {listed(expanded.seeds)}.")
    header: tuple[str, ...] = ("cell", "done", "to do", "one run", "left on\none worker")
    align = "lrrrr"
    rows = tuple(_row(id_, runs) for id_, runs in cells.items())
    if in_time is not None:
        header, align = (*header, "in budget"), f"{align}r"
        bought = (str(sum(id(run) in in_time for run in runs)) for runs in cells.values())
        rows = tuple((*row, number) for row, number in zip(rows, bought, strict=True))
    yield Table(header, rows, align)
    shared = {place[0] for runs in cells.values() for run in runs for place in run.places}
    if shared > {suite.name}:
        yield Paragraph(
            f"Shared with {listed(sorted(shared - {suite.name}))}: such a run is trained once."
        )
    if powers:
        yield from _power_blocks(powers)


def _row(cell: str, runs: Sequence[PlannedTime]) -> tuple[str, ...]:
    todo = [run for run in runs if run.record is None]
    begun = sum(run.begun_epochs > 0 for run in todo)
    took = [run.record.timing.total_s for run in runs if run.record]
    fresh = [run for run in todo if not run.begun_epochs]
    if fresh:
        one = _time(fresh[:1], fresh[0].left_s)
    else:
        one = duration(sum(took) / len(took)) if took else ""
    return (
        cell,
        str(len(runs) - len(todo)),
        f"{len(todo)}" + (f" ({begun} started)" if begun else ""),
        one,
        _time(todo, _sum(todo)) if todo else "",
    )


def _power_blocks(powers: Sequence[Power]) -> Iterator[Block]:
    yield Paragraph("What the claims can decide, before anything more is trained:")
    rows = tuple(
        (
            power.claim.text,
            _points(power.published_pp),
            str(power.seeds),
            percent(power.spread.sd_pp),
            _points(power.detectable_pp),
            _points(power.detectable_holm_pp),
            answer(power),
        )
        for power in powers
    )
    header = (
        "claim",
        "published\npp",
        "seeds",
        "sd\npp",
        "detects\npp",
        "after Holm\npp",
        "seeds to decide",
    )
    yield Table(header, rows, "lrrrrrl")
    sources = listed(dict.fromkeys(f"{p.spread.sd_pp:.2f} {p.spread.source}" for p in powers))
    few = "; fewer than 3 seeds decide nothing" if powers[0].seeds < 3 else ""
    yield Paragraph(
        "Detects: the smallest true difference that these seeds find with probability 0.8 at the "
        f"claim's alpha, and after Holm's correction for {count(len(powers), 'claim')}{few}. "
        "Claims are judged at 3, 5 and 8 seeds. Seeds to decide: of these, the number that finds "
        "the published difference after Holm's correction; in a chain, every step of it. "
        "Published: in a chain, the smallest step. "
        f"Sd of one run: {sources}."
    )


def answer(power: Power) -> str:
    """Say how many seeds would decide a claim, in a few words."""
    if power.sought_pp is None:
        return "no published size"
    if power.sought_pp <= 0:
        return "not in the published numbers"
    if power.seeds_needed is None:
        return "more than 8 seeds"
    enough = power.seeds_needed <= power.seeds
    return f"{power.seeds} are enough" if enough else f"{power.seeds_needed} seeds"


def _points(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if math.isfinite(value) else "nothing"


def _cell_data(cell: str, runs: Sequence[PlannedTime]) -> dict[str, Any]:
    return {
        "cell": cell,
        "done": [run.seed for run in runs if run.record],
        "todo": [
            {
                "seed": run.seed,
                "begun_epochs": run.begun_epochs,
                "left_s": run.left_s,
                "estimated": not run.measured,
            }
            for run in runs
            if run.record is None
        ],
    }
