"""Two sets of runs against each other: equal keys bit by bit, other runs cell by cell.

Runs of one key are one experiment and must agree in every number that a repetition repeats. Runs of
one cell under two keys (another engine, tier or version) are two arms of a comparison, paired by
seed and by test image. Differences are percentage points, B minus A.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from resbench.analysis import SCHEMA
from resbench.analysis.arms import arm_of, images_kept
from resbench.analysis.names import cells_of, code_label, listed, run_label, tier_label
from resbench.analysis.results import identity_of, seed_of
from resbench.errors import UsageError
from resbench.stats.contrasts import ArmResult, align, seed_contrast
from resbench.stats.intervals import summarise
from resbench.stats.multiplicity import holm
from resbench.stats.paired import hierarchical_bootstrap, mcnemar
from resbench.stats.power import MIN_SEEDS
from resbench.store.difference import differences, unequal
from resbench.store.layout import RunFolder
from resbench.store.records import RunRecord
from resbench.store.scan import scan
from resbench.words import count

ALPHA = 0.05
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
class Arm:
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
    a: Arm
    b: Arm
    verdict: PairKind
    n: int
    """Seeds of the comparison."""
    difference: float
    interval: tuple[float, float]
    """At 95 %; infinite while the spread is unknown."""
    p: float | None
    """Two-sided over seeds (t-test); None while the spread is unknown."""
    p_images: float | None
    """Two-sided for other test images: the (seed, image) bootstrap, at one seed McNemar's mid-p."""
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
    rest = _by_cell(a, b, shared)
    pairs: list[CellPair] = []
    left_out: list[str] = []
    for cell in sorted(rest[0].keys() | rest[1].keys()):
        own, other = rest[0].get(cell, {}), rest[1].get(cell, {})
        matched = list(_partners(own, other))
        pairs += [_pair(cell, (a, x, own[x]), (b, y, other[y])) for x, y in matched]
        left_out += _alone(cell, "A", own, {x for x, _ in matched})
        left_out += _alone(cell, "B", other, {y for _, y in matched})
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
    if code_label(a) != code_label(b):
        yield f"code {code_label(a)} against {code_label(b)}"
    for name, x, y in unequal(a.environment, b.environment):
        yield f"{name} {x} against {y}"


Runs = dict[str, dict[int, RunRecord]]
"""By setting in words, and seed."""


def _by_cell(a: Side, b: Side, without: set[str]) -> tuple[dict[str, Runs], dict[str, Runs]]:
    """Return the runs of both sides by cell; runs of two specifications never share a setting."""
    sides = [[run for key, run in side.records.items() if key not in without] for side in (a, b)]
    digests: dict[tuple[int, str, str], set[str]] = defaultdict(set)
    for number, runs in enumerate(sides):
        for run in runs:
            for cell in cells_of(run):
                digests[number, cell, _setting(run)].add(_digest(run))
    ambiguous = {where[1:] for where, found in digests.items() if len(found) > 1}
    found: list[dict[str, Runs]] = []
    for runs in sides:
        own: dict[str, Runs] = defaultdict(lambda: defaultdict(dict))
        for run in runs:
            for cell in cells_of(run):
                setting = _setting(run)
                if (cell, setting) in ambiguous:
                    setting += f" specification {_digest(run)}"
                own[cell][setting][seed_of(run)] = run
        found.append(own)
    return found[0], found[1]


def _digest(run: RunRecord) -> str:
    return hashlib.sha256(identity_of(run.spec, run.numerics).encode()).hexdigest()[:8]


def _setting(run: RunRecord) -> str:
    spec = run.spec
    parts = [tier_label(spec["tier"], spec["scale"]), run.data.label]
    parts += [str(spec["precision"]), str(spec["engine"])]
    if overrides := run.context.get("overrides"):
        parts.append(f"overrides {json.dumps(overrides)}")
    return " ".join([*parts, f"numerics {run.numerics}"])


def _partners(a: Runs, b: Runs) -> Iterator[tuple[str, str]]:
    """Yield the settings of a cell that belong together: equal ones, else the only two left."""
    for setting in sorted(a.keys() & b.keys()):
        yield setting, setting
    rest = [sorted(x.keys() - y.keys()) for x, y in ((a, b), (b, a))]
    if len(rest[0]) == len(rest[1]) == 1:
        yield rest[0][0], rest[1][0]


def _alone(cell: str, side: str, runs: Runs, matched: set[str]) -> Iterator[str]:
    for setting, found in runs.items():
        if setting not in matched:
            yield f"{cell}, only {side}: {setting} ({count(len(found), 'run')})"


def _pair(cell: str, *sides: tuple[Side, str, Mapping[int, RunRecord]]) -> CellPair:
    done = [[run for run in runs.values() if run.status == "done"] for _, _, runs in sides]
    kept = images_kept(
        RunFolder(side.results, run.key)
        for (side, _, _), runs in zip(sides, done, strict=True)
        for run in runs
    )
    results = [
        arm_of(f"{name} {cell}", sorted(runs, key=seed_of), "test_top1_err", kept)
        for name, runs in zip("AB", done, strict=True)
    ]
    a, b = (
        _arm(arm, setting, len(runs) - len(arm.seeds))
        for arm, (_, setting, runs) in zip(results, sides, strict=True)
    )
    estimate = seed_contrast(results, (-1, 1))
    interval, p = estimate.interval(0.95), 2 * min(estimate.p_above(), estimate.p_below())
    known, p_images = None if math.isnan(p) else min(1.0, p), _images_p(results)
    ends = interval.low, interval.high
    kind: PairKind = "too_few_seeds"
    if estimate.n == 1 and p_images is not None:
        kind = "networks_differ" if p_images <= ALPHA else "networks_alike"
    return CellPair(cell, a, b, kind, estimate.n, estimate.effect, ends, known, p_images)


def _arm(arm: ArmResult, setting: str, diverged: int) -> Arm:
    found = summarise(arm.errors)
    return Arm(setting, arm.seeds, arm.errors, found.mean, found.sd, diverged)


def _images_p(arms: Sequence[ArmResult]) -> float | None:
    (a, b), paired = align(arms)
    if a.correct is None or b.correct is None or not len(a.correct) or not len(b.correct):
        return None
    if min(len(a.correct), len(b.correct)) > 1:
        return hierarchical_bootstrap(a.correct, b.correct, paired_seeds=paired).p_two_sided
    return max(mcnemar(x, y).p_mid for x, y in itertools.product(a.correct, b.correct))


def _adjusted(pairs: Sequence[CellPair]) -> Iterator[CellPair]:
    """Yield the pairs with Holm's p, and a verdict where the seeds are enough for one."""
    enough = [pair.p is not None and pair.n >= MIN_SEEDS for pair in pairs]
    family = [pair.p if decides else None for pair, decides in zip(pairs, enough, strict=True)]
    for pair, p in zip(pairs, holm(family), strict=True):
        if p is None:
            yield pair
        elif p > ALPHA:
            yield replace(pair, p_holm=p, verdict="no_difference")
        else:
            yield replace(pair, p_holm=p, verdict="b_worse" if pair.difference > 0 else "b_better")
