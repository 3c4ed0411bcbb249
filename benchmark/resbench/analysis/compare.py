"""Two sets of runs against each other: equal keys bit by bit, other runs cell by cell.

Runs of one key are one experiment and must agree in every number that a repetition repeats. Runs of
one cell under two keys (another engine, tier or version) are two arms of a comparison. Differences
are percentage points, B minus A.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from resbench.analysis import SCHEMA
from resbench.analysis.arms import arm_of, same_images
from resbench.analysis.names import cells_of, listed, run_label
from resbench.analysis.results import identity_of, seed_of
from resbench.analysis.tables import predictions_of
from resbench.errors import UsageError
from resbench.stats.contrasts import Tested, other_images_p, put_to_test
from resbench.stats.multiplicity import ALPHA, holm
from resbench.stats.power import MIN_SEEDS
from resbench.stats.spread import Arm
from resbench.stats.textbook import mcnemar, summarise
from resbench.store.layout import RunFolder
from resbench.store.records import RunRecord
from resbench.store.scan import scan
from resbench.store.verify import differences, unequal
from resbench.words import count

PairKind = Literal[
    "b_better", "b_worse", "no_difference", "too_few_seeds", "networks_differ", "networks_alike"
]
"""The last two are about one network a side, which decides nothing about how they were made."""


@dataclass(frozen=True)
class Side:
    """One of the two sets."""

    label: str
    results: Path
    records: Mapping[str, RunRecord]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class SameKey:
    """One run that both sides have."""

    key: str
    label: str
    differences: tuple[str, ...]
    """One phrase each, A first; empty when all bits agree."""
    conditions: tuple[str, ...]
    """How the two were made, where that differs."""


@dataclass(frozen=True)
class CellArm:
    """The runs of one side in one cell."""

    setting: str
    seeds: tuple[int, ...]
    errors: tuple[float, ...]
    mean: float
    sd: float
    diverged: int


@dataclass(frozen=True)
class CellPair:
    """One cell that both sides ran under different keys."""

    cell: str
    a: CellArm
    b: CellArm
    verdict: PairKind
    n: int
    """Seeds of the comparison."""
    difference: float
    interval: tuple[float, float]
    """At 95 %; infinite where the spread is unknown, or a run diverged."""
    p: float | None
    """Two-sided over runs, by t or by ranks; None while the spread is unknown."""
    p_images: float | None
    """Two-sided for other test images too; at one seed McNemar's mid-p of the two networks."""
    p_holm: float | None = None
    """Adjusted over all cells with enough seeds."""


@dataclass(frozen=True)
class Comparison:
    """Everything that was found."""

    schema: int
    a: str
    b: str
    runs: tuple[int, int]
    same_key: tuple[SameKey, ...]
    cells: tuple[CellPair, ...]
    left_out: tuple[str, ...]
    """Runs and cells that have no partner, and why."""
    problems: tuple[str, ...]

    @property
    def disagreeing(self) -> tuple[SameKey, ...]:
        """The runs of one key whose numbers differ: a defect, or another kind of machine."""
        return tuple(run for run in self.same_key if run.differences)


def select(name: str, results: Path) -> Side:
    """Return the runs of a results folder, or those of a tier in ``results``.

    Raises:
        UsageError: neither such a folder nor a run of such a tier.
    """
    folder = Path(name)
    if name and folder.is_dir():
        found = scan(folder)
        return Side(name, folder, found.records, found.problems)
    found = scan(results)
    tiers = {key: str(run.spec["tier"]) for key, run in found.records.items()}
    chosen = {key: found.records[key] for key, tier in sorted(tiers.items()) if tier == name}
    if not chosen:
        there = listed(sorted(set(tiers.values()))) or "none"
        raise UsageError(
            f"'{name}': neither a results folder nor a tier of the runs in {results}. Tiers there: "
            f"{there}."
        )
    return Side(name, results, chosen, found.problems)


def compare(a: Side, b: Side) -> Comparison:
    """Compare all runs of two sides."""
    shared = a.records.keys() & b.records.keys()
    same = tuple(_same_key(a, b, key) for key in sorted(shared))
    rest = [_by_cell(side, shared) for side in (a, b)]
    pairs: list[CellPair] = []
    left_out: list[str] = []
    for cell in sorted(rest[0].keys() | rest[1].keys()):
        arms = [found.get(cell, {}) for found in rest]
        for x, y in list(_partners(*arms)):
            pairs.append(_pair(cell, (a, arms[0].pop(x)), (b, arms[1].pop(y))))
        left_out += [
            f"{cell}, only {name}: {_setting(runs)} ({count(len(runs), 'run')})"
            for name, alone in zip("AB", arms, strict=True)
            for runs in alone.values()
        ]
    runs, problems = (len(a.records), len(b.records)), (*a.problems, *b.problems)
    cells = tuple(_adjusted(pairs))
    return Comparison(SCHEMA, a.label, b.label, runs, same, cells, tuple(left_out), problems)


def _same_key(a: Side, b: Side, key: str) -> SameKey:
    """Compare two records of one key, then their files where the digests differ."""
    one, other = a.records[key], b.records[key]
    label = run_label(one if cells_of(one) else other)
    pair = ((RunFolder(side.results, key), side.records[key]) for side in (a, b))
    return SameKey(key, label, differences(*pair), tuple(_conditions(one, other)))


def _conditions(a: RunRecord, b: RunRecord) -> Iterator[str]:
    """Yield how two runs of one key were made differently."""
    if a.code.label != b.code.label:
        yield f"code {a.code.label} against {b.code.label}"
    for name, x, y in unequal(a.environment, b.environment):
        yield f"{name} {x} against {y}"


BySpec = dict[str, dict[int, RunRecord]]
"""Runs by specification without its seed, and by seed."""


def _by_cell(side: Side, without: set[str]) -> dict[str, BySpec]:
    """Return the runs of a side by cell; runs of two specifications are never one arm."""
    found: dict[str, BySpec] = {}
    for run in (run for key, run in side.records.items() if key not in without):
        for cell in cells_of(run):
            arms = found.setdefault(cell, {})
            arms.setdefault(identity_of(run.spec, run.numerics), {})[seed_of(run)] = run
    return found


def _setting(runs: Mapping[int, RunRecord]) -> str:
    """Return in words how the runs of an arm were made."""
    run = next(iter(runs.values()))
    spec = run.spec
    parts = [f"tier {spec['tier']}", run.data.label]
    parts += [str(spec["precision"]), str(spec["engine"])]
    if overrides := run.context.get("overrides"):
        parts.append(f"overrides {json.dumps(overrides)}")
    return " ".join([*parts, f"numerics {run.numerics}"])


def _partners(a: BySpec, b: BySpec) -> Iterator[tuple[str, str]]:
    """Yield the arms of a cell that belong together: of one specification, else the only two."""
    yield from ((arm, arm) for arm in sorted(a.keys() & b.keys()))
    rest = [sorted(x.keys() - y.keys()) for x, y in ((a, b), (b, a))]
    if len(rest[0]) == len(rest[1]) == 1:
        yield rest[0][0], rest[1][0]


def _pair(cell: str, *sides: tuple[Side, Mapping[int, RunRecord]]) -> CellPair:
    kept = predictions_of(
        RunFolder(side.results, run.key) for side, runs in sides for run in runs.values()
    )
    results = [
        arm_of(f"{name} {cell}", runs.values(), "test_top1_err", kept)
        for name, (_, runs) in zip("AB", sides, strict=True)
    ]
    a, b = (_arm(arm, _setting(runs)) for arm, (_, runs) in zip(results, sides, strict=True))
    found = put_to_test(results, (-1, 1), ())
    estimate, p = found.estimate, None
    if found.p is not None and found.opposite_p is not None:
        p = min(1.0, 2 * min(found.p, found.opposite_p))
    p_images = _images_p(results, found) if same_images(kept.values()) else None
    kind: PairKind = "too_few_seeds"
    if estimate.n == 1 and p_images is not None:
        kind = "networks_differ" if p_images <= ALPHA else "networks_alike"
    ends = found.interval or (-math.inf, math.inf)
    return CellPair(cell, a, b, kind, estimate.n, estimate.effect, ends, p, p_images)


def _arm(arm: Arm, setting: str) -> CellArm:
    done = arm.ended
    found = summarise(tuple(done.values()))
    return CellArm(
        setting, tuple(done), tuple(done.values()), found.mean, found.sd, len(arm.diverged)
    )


def _images_p(arms: Sequence[Arm], found: Tested) -> float | None:
    a, b = (arm.correct for arm in arms)
    if a is None or b is None or found.uneven:
        return None
    if min(len(a), len(b)) > 1:
        p = other_images_p(found.estimate, a, b)
        return 2 * min(p, 1 - p)
    return max(mcnemar(x, y) for x, y in itertools.product(a, b))


def _adjusted(pairs: Sequence[CellPair]) -> Iterator[CellPair]:
    """Yield the pairs with Holm's p, and a verdict where the seeds are enough for one."""
    enough = [pair.p is not None and pair.n >= MIN_SEEDS for pair in pairs]
    adjusted = iter(holm([pair.p for pair, decides in zip(pairs, enough, strict=True) if decides]))
    for pair, decides in zip(pairs, enough, strict=True):
        p = next(adjusted) if decides else None
        if p is None:
            yield pair
        elif p > ALPHA:
            yield replace(pair, p_holm=p, verdict="no_difference")
        else:
            yield replace(pair, p_holm=p, verdict="b_worse" if pair.difference > 0 else "b_better")
