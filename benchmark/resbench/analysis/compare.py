"""Two sets of runs against each other: equal keys bit by bit, other runs cell by cell.

Runs of one key are one experiment and must agree in every number that a repetition gives again.
Runs of one cell under two keys (another engine, tier or version) are two arms of a comparison,
paired by seed and by test image. Differences are percentage points, B minus A.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from resbench.analysis.arms import arm_of, images_kept
from resbench.analysis.identical import SameKey, same_key
from resbench.analysis.names import listed
from resbench.analysis.results import identity_of, places_of, seed_of
from resbench.errors import EnvironmentFault, UsageError, did_you_mean
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
        UsageError: an unknown tag, or one that no run has.
        EnvironmentFault: no such folder.
    """
    folder = Path(argument)
    if argument and folder.is_dir():
        found = scan(folder)
        return Side(argument, folder, found.records, found.problems)
    if "=" not in argument:
        raise EnvironmentFault(
            f"'{argument}': no such results folder. Name one, or tags of the runs in --results, "
            "such as tier=cpu or engine=graph,precision=bf16."
        )
    found = scan(results)
    tagged = [_tagged(part, found.records, results) for part in argument.split(",")]
    chosen = {key: found.records[key] for key in sorted(set.intersection(*tagged))}
    return Side(argument, results, chosen, found.problems)


def compare(a: Side, b: Side) -> Comparison:
    """Compare all runs of two sides."""
    shared = a.records.keys() & b.records.keys()
    same = tuple(_shared(a, b, key) for key in sorted(shared))
    rest = _by_cell(a, b, shared)
    pairs: list[CellPair] = []
    left_out: list[str] = []
    for place in sorted(rest[0].keys() | rest[1].keys()):
        ours, theirs = rest[0].get(place, {}), rest[1].get(place, {})
        matched = list(_partners(ours, theirs))
        pairs += [_pair(a, b, place, x, y, ours[x], theirs[y]) for x, y in matched]
        left_out += _alone(place, "A", ours, {x for x, _ in matched})
        left_out += _alone(place, "B", theirs, {y for _, y in matched})
    return Comparison(a, b, same, tuple(_adjusted(pairs)), tuple(left_out))


_TAGS: dict[str, Callable[[RunRecord], str]] = {
    "tier": lambda run: str(run.spec["tier"]),
    "scale": lambda run: f"{run.spec['scale']:g}",
    "engine": lambda run: str(run.spec["engine"]),
    "precision": lambda run: str(run.spec["precision"]),
    "data": lambda run: run.data.label,
    "device": lambda run: run.environment.device_name,
    "code": lambda run: run.code.commit or run.code.version,
}


def _tagged(part: str, runs: Mapping[str, RunRecord], results: Path) -> set[str]:
    """Return the keys of the runs with a tag; a commit may be given by its start."""
    name, _, value = part.partition("=")
    if name not in _TAGS:
        raise UsageError(f"unknown tag '{name}'.{did_you_mean(name, _TAGS)}")
    found = {key: _TAGS[name](run) for key, run in runs.items()}
    named = {
        key for key, own in found.items()
        if own == value or (name == "code" and value and own.startswith(value))
    }  # fmt: skip
    if not named:
        there = listed(sorted(set(found.values()))) or "no run"
        raise UsageError(f"{part}: no run in {results} has this tag. There: {there}.")
    return named


def _shared(a: Side, b: Side, key: str) -> SameKey:
    run = a.records[key]
    places = places_of(run) or places_of(b.records[key]) or ["no cell"]
    ours, theirs = ((RunFolder(side.results, key), side.records[key]) for side in (a, b))
    return same_key(ours, theirs, f"{places[0]} seed {seed_of(run)}")


Runs = dict[str, dict[int, RunRecord]]
"""By context in words, and seed."""


def _by_cell(a: Side, b: Side, without: set[str]) -> tuple[dict[str, Runs], dict[str, Runs]]:
    """Return the runs of both sides by cell; runs of two specifications never share a context."""
    sides = [[run for key, run in side.records.items() if key not in without] for side in (a, b)]
    specs: dict[tuple[int, str, str], set[str]] = defaultdict(set)
    for number, runs in enumerate(sides):
        for run in runs:
            for place in places_of(run):
                specs[number, place, _context(run)].add(_digest(run))
    ambiguous = {where[1:] for where, found in specs.items() if len(found) > 1}
    cells: list[dict[str, Runs]] = []
    for runs in sides:
        own: dict[str, Runs] = defaultdict(lambda: defaultdict(dict))
        for run in runs:
            for place in places_of(run):
                context = _context(run)
                if (place, context) in ambiguous:
                    context += f" specification {_digest(run)}"
                own[place][context][seed_of(run)] = run
        cells.append(own)
    return cells[0], cells[1]


def _digest(run: RunRecord) -> str:
    return hashlib.sha256(identity_of(run.spec, run.numerics).encode()).hexdigest()[:8]


def _context(run: RunRecord) -> str:
    parts = [f"tier {run.spec['tier']}", f"x{run.spec['scale']:g}", run.data.label]
    parts += [str(run.spec["precision"]), str(run.spec["engine"])]
    if overrides := run.context.get("overrides"):
        parts.append(f"overrides {json.dumps(overrides)}")
    return " ".join([*parts, f"numerics {run.numerics}"])


def _partners(a: Runs, b: Runs) -> Iterator[tuple[str, str]]:
    """Yield the contexts of a cell that belong together: equal ones, else the only two left."""
    for context in sorted(a.keys() & b.keys()):
        yield context, context
    rest = [sorted(x.keys() - y.keys()) for x, y in ((a, b), (b, a))]
    if len(rest[0]) == len(rest[1]) == 1:
        yield rest[0][0], rest[1][0]


def _alone(place: str, side: str, runs: Runs, matched: set[str]) -> Iterator[str]:
    for context, found in runs.items():
        if context not in matched:
            yield f"{place}, only {side}: {context} ({count(len(found), 'run')})"


def _pair(
    a: Side,
    b: Side,
    place: str,
    context_a: str,
    context_b: str,
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
