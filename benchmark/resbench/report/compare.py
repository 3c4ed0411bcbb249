"""Two sets of runs against each other: equal keys bit by bit, other runs cell by cell.

Runs of one key are one experiment and must agree in every number that a repetition gives again.
Runs of one cell under two keys (another engine, tier or version) are two arms of a comparison,
paired by seed and by test image. Differences are percentage points, B minus A.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from resbench.errors import EnvironmentFault, UsageError, did_you_mean
from resbench.report.arms import arm_of, images_kept
from resbench.report.identical import SameKey, same_key
from resbench.report.reading import seed_of
from resbench.stats.contrasts import ArmResult, Estimate, align, seed_contrast
from resbench.stats.multiplicity import holm
from resbench.stats.paired import hierarchical_bootstrap, mcnemar
from resbench.stats.power import MIN_SEEDS
from resbench.store.layout import RunFolder
from resbench.store.records import RunRecord
from resbench.store.scan import scan
from resbench.words import count

ALPHA = 0.05


@dataclass(frozen=True)
class Side:
    """One of the two sets."""

    label: str
    results: Path
    records: Mapping[str, RunRecord]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class CellPair:
    """One cell that both sides ran under different keys."""

    place: str
    contexts: tuple[str, str]
    arms: tuple[ArmResult, ArmResult]
    diverged: tuple[int, int]
    estimate: Estimate
    p: float | None
    """Two-sided over seeds (t-test); None while the spread is unknown."""
    images_p: float | None
    """Two-sided for other test images: the (seed, image) bootstrap, at one seed McNemar's mid-p."""
    adjusted_p: float | None = None
    """Holm over all cells with enough seeds."""

    @property
    def verdict(self) -> str:
        """What the runs say, in a few words."""
        if self.estimate.n == 1 and self.images_p is not None:
            differ = "differ" if self.images_p <= ALPHA else "do not differ"
            return f"these two networks {differ}; one seed decides nothing"
        if self.estimate.n < MIN_SEEDS or self.p is None:
            return "too few seeds"
        if self.adjusted_p is not None and self.adjusted_p <= ALPHA:
            return "B is worse" if self.estimate.effect > 0 else "B is better"
        return "no difference shown"


@dataclass(frozen=True)
class Comparison:
    """Everything that was found."""

    a: Side
    b: Side
    same: tuple[SameKey, ...]
    cells: tuple[CellPair, ...]
    left_out: tuple[str, ...]
    """Runs and cells that have no partner, and why."""

    @property
    def disagreeing(self) -> tuple[SameKey, ...]:
        """The runs of one key whose numbers differ: a defect, or another kind of machine."""
        return tuple(run for run in self.same if run.differences)


def select(argument: str, results: Path) -> Side:
    """Return the runs that ``argument`` names: a results folder, or tags of runs in ``results``.

    Tags are ``KEY=VALUE``, several joined by commas.

    Raises:
        UsageError: an unknown tag.
        EnvironmentFault: no such folder.
    """
    folder = Path(argument)
    if folder.is_dir():
        found = scan(folder)
        return Side(argument, folder, found.records, found.problems)
    if "=" not in argument:
        raise EnvironmentFault(
            f"{argument}: no such results folder. Name one, or tags of the runs in --results, such "
            "as tier=cpu or engine=graph,precision=bf16."
        )
    tests = [_tag(part) for part in argument.split(",")]
    found = scan(results)
    chosen = {k: run for k, run in found.records.items() if all(test(run) for test in tests)}
    return Side(argument, results, chosen, found.problems)


def compare(a: Side, b: Side) -> Comparison:
    """Compare all runs of two sides."""
    shared = a.records.keys() & b.records.keys()
    same = tuple(_shared(a, b, key) for key in sorted(shared))
    rest = [_by_cell(side, shared) for side in (a, b)]
    pairs: list[CellPair] = []
    left_out: list[str] = []
    for place in sorted(rest[0].keys() | rest[1].keys()):
        ours, theirs = rest[0].get(place, {}), rest[1].get(place, {})
        matched = list(_partners(ours, theirs))
        pairs += [_pair(a, b, place, x, y, ours[x], theirs[y]) for x, y in matched]
        left_out += _alone(place, "A", ours, {x for x, _ in matched})
        left_out += _alone(place, "B", theirs, {y for _, y in matched})
    return Comparison(a, b, same, tuple(_adjusted(pairs)), tuple(left_out))


def _tag(text: str) -> Callable[[RunRecord], bool]:
    name, _, value = text.partition("=")
    tags: dict[str, Callable[[RunRecord], bool]] = {
        "tier": lambda run: run.spec["tier"] == value,
        "scale": lambda run: f"{run.spec['scale']:g}" == value,
        "engine": lambda run: run.spec["engine"] == value,
        "precision": lambda run: run.spec["precision"] == value,
        "data": lambda run: run.data.label == value,
        "device": lambda run: run.environment.device_name == value,
        "code": lambda run: value in (run.code.version, (run.code.commit or "")[: len(value)]),
    }
    if name not in tags:
        raise UsageError(f"unknown tag '{name}'.{did_you_mean(name, tags)}")
    return tags[name]


def _shared(a: Side, b: Side, key: str) -> SameKey:
    run = a.records[key]
    places = _places(run) or _places(b.records[key]) or ["no cell"]
    ours, theirs = ((RunFolder(side.results, key), side.records[key]) for side in (a, b))
    return same_key(ours, theirs, f"{places[0]} seed {seed_of(run)}")


Context = str
Runs = dict[Context, dict[int, RunRecord]]


def _by_cell(side: Side, without: set[str]) -> dict[str, Runs]:
    """Return the runs of a side by cell, context and seed."""
    cells: dict[str, Runs] = defaultdict(lambda: defaultdict(dict))
    for key, run in side.records.items():
        if key not in without:
            for place in _places(run):
                cells[place][_context(run)][seed_of(run)] = run
    return cells


def _places(run: RunRecord) -> list[str]:
    """Return the cells that the run was made for, as the runner noted them."""
    cells = run.context.get("cells", [])
    return [" ".join(map(str, cell)) for cell in cells] if isinstance(cells, list) else []


def _context(run: RunRecord) -> Context:
    parts = [f"tier {run.spec['tier']}", f"x{run.spec['scale']:g}", run.data.label]
    parts += [str(run.spec["precision"]), str(run.spec["engine"])]
    if overrides := run.context.get("overrides"):
        parts.append(f"overrides {json.dumps(overrides)}")
    return " ".join([*parts, f"numerics {run.numerics}"])


def _partners(a: Runs, b: Runs) -> Iterator[tuple[Context, Context]]:
    """Yield the contexts of a cell that belong together: equal ones, else the only two left."""
    for context in sorted(a.keys() & b.keys()):
        yield context, context
    rest = [sorted(x.keys() - y.keys()) for x, y in ((a, b), (b, a))]
    if len(rest[0]) == len(rest[1]) == 1:
        yield rest[0][0], rest[1][0]


def _alone(place: str, side: str, runs: Runs, matched: set[Context]) -> Iterator[str]:
    for context, found in runs.items():
        if context not in matched:
            yield f"{place}, only {side}: {context} ({count(len(found), 'run')})"


def _pair(
    a: Side,
    b: Side,
    place: str,
    context_a: Context,
    context_b: Context,
    runs_a: Mapping[int, RunRecord],
    runs_b: Mapping[int, RunRecord],
) -> CellPair:
    sides = ((a, runs_a), (b, runs_b))
    done = ((side, run) for side, runs in sides for run in runs.values() if run.status == "done")
    kept = images_kept(RunFolder(side.results, run.key) for side, run in done)
    one, other = (
        arm_of(f"{name} {place}", (runs[seed] for seed in sorted(runs)), "test_top1_err", kept)
        for name, (_, runs) in zip("AB", sides, strict=True)
    )
    arms = one, other
    lost = tuple(sum(r.status == "diverged" for r in runs.values()) for runs in (runs_a, runs_b))
    estimate = seed_contrast(arms, (-1, 1))
    p = 2 * min(estimate.p_above(), estimate.p_below())
    return CellPair(
        place,
        (context_a, context_b),
        arms,
        lost,  # type: ignore[arg-type]
        estimate,
        None if math.isnan(p) else min(1.0, p),
        _images_p(arms),
    )


def _images_p(arms: Sequence[ArmResult]) -> float | None:
    (a, b), paired = align(arms)
    if a.correct is None or b.correct is None or not len(a.correct) or not len(b.correct):
        return None
    if min(len(a.correct), len(b.correct)) > 1:
        return hierarchical_bootstrap(a.correct, b.correct, paired_seeds=paired).p_two_sided
    return max(mcnemar(x, y).p_mid for x, y in itertools.product(a.correct, b.correct))


def _adjusted(pairs: Sequence[CellPair]) -> Iterator[CellPair]:
    family = [pair.p if pair.estimate.n >= MIN_SEEDS else None for pair in pairs]
    for pair, p in zip(pairs, holm(family), strict=True):
        yield replace(pair, adjusted_p=p)
