"""The page of ``resbench plan``: what would run, how long it takes, what it can decide."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
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

UNKNOWN = "unknown: measured at the first run"


@dataclass(frozen=True)
class PlannedTime:
    """One run of a plan; a run that serves several cells counts once."""

    places: tuple[tuple[str, str], ...]
    """(suite, cell)."""
    seed: int
    record: RunRecord | None
    begun_epochs: int
    left_s: float | None
    """Expected seconds that are left on one worker; None where no rate is known."""


@dataclass(frozen=True)
class Machine:
    """Where the plan would run."""

    device: str
    workers: int
    data_missing: Mapping[str, str]
    """For each data set that is not available a line: what to do."""


def plan_document(
    suites: Sequence[Expanded], runs: Sequence[PlannedTime], machine: Machine, command: str
) -> Document:
    """Return the plan of all suites in one setting."""
    by_place: dict[tuple[str, str], list[PlannedTime]] = {}
    for run in runs:
        for place in run.places:
            by_place.setdefault(place, []).append(run)
    todo = [run for run in runs if run.record is None]
    blocks: list[Block] = [Heading(1, "Plan"), Paragraph(_total(todo, len(runs), machine))]
    missing = tuple(machine.data_missing.values())
    blocks += [Items(missing)] if missing else []
    if todo:
        blocks += [Command(command)]
    data = []
    for expanded in suites:
        name = expanded.loaded.suite.name
        cells = {c.id: by_place.get((name, c.id), []) for c in expanded.cells if c.spec is not None}
        records = {id_: [r.record for r in found if r.record] for id_, found in cells.items()}
        powers = claim_powers(expanded, records)
        blocks += _suite_blocks(expanded, cells, powers)
        data.append({
            "suite": name,
            "title": expanded.loaded.suite.title,
            "seeds": list(expanded.seeds),
            "cells": [_cell_data(id_, found) for id_, found in cells.items()],
            "claims": [{**vars(power), "answer": answer(power)} for power in powers],
        })  # fmt: skip
    plain = {
        "schema": SCHEMA,
        "setting": setting_label(suites[0].context),
        "device": machine.device,
        "workers": machine.workers,
        "data_missing": dict(machine.data_missing),
        "runs": {"done": len(runs) - len(todo), "todo": len(todo)},
        "left_s": _sum(todo),
        "unknown_runs": sum(run.left_s is None for run in todo),
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
    unknown, known = sum(run.left_s is None for run in todo), _sum(todo)
    if unknown == len(todo):
        return f"{text} Time: {UNKNOWN}."
    # The last run of a plan leaves the other workers idle, so the longest one is a bound as well.
    longest = max(run.left_s or 0.0 for run in todo)
    time = duration(max(known / machine.workers, longest))
    if unknown:
        return f"{text} Time: {time} and {count(unknown, 'run')} of unknown length."
    return f"{text} Time: about {time} in all."


def _sum(runs: Sequence[PlannedTime]) -> float:
    return math.fsum(run.left_s or 0.0 for run in runs)


def _suite_blocks(
    expanded: Expanded, cells: Mapping[str, Sequence[PlannedTime]], powers: Sequence[Power]
) -> Iterator[Block]:
    suite = expanded.loaded.suite
    yield Heading(2, f"{suite.name}: {suite.title}")
    if not cells:
        yield Paragraph("Counted, not trained: see `resbench report`.")
        return
    yield Paragraph(
        f"{sentence(setting_label(expanded.context))} · seeds {listed(expanded.seeds)}."
    )
    rows = tuple(_row(expanded, id_, runs) for id_, runs in cells.items())
    yield Table(("cell", "done", "to do", "one run", "left"), rows, "lrrrr")
    shared = {place[0] for runs in cells.values() for run in runs for place in run.places}
    if shared > {suite.name}:
        yield Paragraph(
            f"Shared with {listed(sorted(shared - {suite.name}))}: such a run is trained once."
        )
    if powers:
        yield from _power_blocks(powers)


def _row(expanded: Expanded, cell: str, runs: Sequence[PlannedTime]) -> tuple[str, ...]:
    todo = [run for run in runs if run.record is None]
    begun = sum(run.begun_epochs > 0 for run in todo)
    fresh = [run.left_s for run in todo if not run.begun_epochs]
    one = next((seconds for seconds in fresh if seconds is not None), None)
    if one is None:
        took = [run.record.timing.total_s for run in runs if run.record]
        one = sum(took) / len(took) if took else None
    unknown = any(run.left_s is None for run in todo)
    return (
        cell,
        str(len(runs) - len(todo)),
        f"{len(todo)}" + (f" ({begun} started)" if begun else ""),
        "unknown" if one is None else duration(one),
        "unknown" if unknown else duration(_sum(todo)) if todo else "",
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
        "Detects: the smallest true difference that these seeds, paired, find with probability 0.8 "
        f"at the claim's alpha, and after Holm's correction for {count(len(powers), 'claim')}"
        f"{few}. Seeds to decide: as many as find the published difference after Holm's "
        "correction; in a chain, every step of it. Published: in a chain, the smallest step. "
        f"Sd of one run: {sources}."
    )


def answer(power: Power) -> str:
    """Say how many seeds would decide a claim, in a few words."""
    if power.sought_pp is None:
        return "no published size"
    if power.sought_pp <= 0:
        return "not in the published numbers"
    if power.seeds_needed is None:
        return "over 100 seeds"
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
            {"seed": run.seed, "begun_epochs": run.begun_epochs, "left_s": run.left_s}
            for run in runs
            if run.record is None
        ],
    }
