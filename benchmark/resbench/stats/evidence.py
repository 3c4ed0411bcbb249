"""What the seeds and the test images say about a claim: one or more contrasts between arms.

The p-value that decides comes from the seeds (`seed_contrast`): a claim is about a way of training,
and its unit of repetition is the run. The images only tell whether it would hold on others too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from resbench.stats.contrasts import ArmResult, Estimate, align, seed_contrast
from resbench.stats.equivalence import beyond_p, equivalence_p
from resbench.stats.paired import hierarchical_bootstrap, mcnemar
from resbench.stats.power import seeds_for_contrast

Operator = Literal["<", ">", "~", "monotone_decreasing", "monotone_increasing", "gap_grows"]
Arms = Sequence[ArmResult] | Sequence[tuple[ArmResult, ArmResult]]

MIN_SEEDS = 3
"""Two seeds leave one degree of freedom: the test then rests on normality alone, unchecked."""

POWER = 0.8


@dataclass(frozen=True)
class Evidence:
    """What the data say about a claim, before any correction for other claims."""

    operator: Operator
    alpha: float
    margin: float | None
    printed_difference: float | None
    """The source's, in the contrast of ``estimate``."""
    comparable: bool
    """Whether the runs are of the source's setting, so that its size means something for them."""
    missing: tuple[str, ...]
    """Cells without a run."""
    estimate: Estimate
    """Positive in the claimed direction; of a monotone claim the step with the largest p."""
    n: int
    """Seeds of the smallest arm of all."""
    where: str
    """That step of a monotone claim, as claimed, like ``a < b``; else empty."""
    p: float | None
    """One-sided, for the claim; None while the spread is unknown."""
    opposite_p: float | None
    """For the opposite of the claim."""
    agrees: bool
    """Whether the claimed direction shows in every seed (one seed: in McNemar's mid-p)."""
    images_p: float | None
    """One-sided, for other test images too: the (seed, image) bootstrap, at one seed McNemar."""
    seeds_needed: int | None
    """Seeds per arm for a power of 0.8 where Holm asks most."""


@dataclass(frozen=True, eq=False)
class _Step:
    """One contrast of a claim, positive as claimed."""

    arms: tuple[ArmResult, ...]
    weights: tuple[float, ...]


def gather(
    operator: Operator,
    arms: Arms,
    *,
    alpha: float,
    margin: float | None,
    printed_difference: float | Sequence[float] | None,
    comparable: bool,
    planning_sd: float | None,
    claims: int,
) -> Evidence:
    """Compute the evidence for a claim; the arguments are those of `evaluate_claim`."""
    steps = _steps(operator, arms)
    if (operator == "~") != (margin is not None):
        raise ValueError(f"operator {operator!r} with margin {margin}: '~' takes one, others none")
    printed = _per_step(printed_difference, len(steps))
    missing = tuple(dict.fromkeys(arm.cell for s in steps for arm in s.arms if not arm.seeds))
    estimates = [seed_contrast(step.arms, step.weights) for step in steps]
    weakest = min(range(len(steps)), key=lambda i: _weakness(estimates[i]))
    step, estimate = steps[weakest], estimates[weakest]
    if margin is not None:
        p, opposite = equivalence_p(estimate, margin), beyond_p(estimate, margin)
    else:
        p = float(np.max([e.p_above() for e in estimates]))
        # One reversed step contradicts the claim; Bonferroni over the steps it could have been.
        opposite = min(1.0, len(steps) * float(np.min([e.p_below() for e in estimates])))
    directed = operator != "~" and not missing
    images = [_images_p(s) for s in steps] if directed else [None]
    known = [value for value in images if value is not None]
    return Evidence(
        operator=operator,
        alpha=alpha,
        margin=margin,
        printed_difference=printed[weakest] if printed else None,
        comparable=comparable,
        missing=missing,
        estimate=estimate,
        n=min(e.n for e in estimates),
        where=_claimed(operator, step) if len(steps) > 1 else "",
        p=None if math.isnan(p) else p,
        opposite_p=None if math.isnan(p) else opposite,
        agrees=directed
        and all(_agrees(s, alpha, image) for s, image in zip(steps, images, strict=True)),
        images_p=max(known) if len(known) == len(images) else None,
        seeds_needed=_seeds_needed(
            step,
            estimate,
            alpha / claims,
            margin,
            printed if comparable else (),
            planning_sd,
            tests=len(steps),
        ),
    )


def per_test_power(tests: int) -> float:
    """Return the power of each of several tests by which all of them reject with POWER at least."""
    return 1 - (1 - POWER) / tests


def trend_weights(levels: int) -> tuple[float, ...]:
    """Return the weights by which values give their fitted line's rise from first to last level.

    That is the least-squares slope over the level's index, times the number of steps.
    """
    x = [i - (levels - 1) / 2 for i in range(levels)]
    squares = math.fsum(v * v for v in x)
    return tuple(v * (levels - 1) / squares for v in x)


def _per_step(printed: float | Sequence[float] | None, steps: int) -> tuple[float, ...]:
    """Return the printed effect of every step; one number is the smallest of them."""
    if printed is None:
        return ()
    values = tuple(printed) if isinstance(printed, Sequence) else (printed,) * steps
    if len(values) != steps:
        raise ValueError(f"{len(values)} printed differences for {steps} steps")
    return values


def _steps(operator: Operator, arms: Arms) -> list[_Step]:
    if operator not in get_args(Operator):
        raise ValueError(f"operator {operator!r}: allowed are {', '.join(get_args(Operator))}")
    falls, rises = (1.0, -1.0), (-1.0, 1.0)
    if operator == "gap_grows":
        pairs = [arm for arm in arms if isinstance(arm, tuple)]
        if len(pairs) < 2 or len(pairs) != len(arms):
            raise ValueError("operator 'gap_grows' needs two or more pairs of arms")
        trend = trend_weights(len(pairs))
        return [_Step(sum(pairs, ()), tuple(w * sign for w in trend for sign in rises))]
    singles = [arm for arm in arms if isinstance(arm, ArmResult)]
    if len(singles) < 2 or len(singles) != len(arms):
        raise ValueError(f"operator {operator!r} compares arms, not pairs, and needs two or more")
    if operator.startswith("monotone"):
        weights = falls if operator == "monotone_decreasing" else rises
        return [_Step(pair, weights) for pair in itertools.pairwise(singles)]
    if len(singles) != 2:
        raise ValueError(f"operator {operator!r} compares two arms, not {len(singles)}")
    return [_Step(tuple(singles), falls if operator == ">" else rises)]


def _claimed(operator: Operator, step: _Step) -> str:
    sign = " < " if operator == "monotone_increasing" else " > "
    return sign.join(arm.cell for arm in step.arms)


def _weakness(estimate: Estimate) -> tuple[bool, float, float]:
    """Sort key: an unknown p first, then the largest p."""
    p = estimate.p_above()
    return (not math.isnan(p), 0.0 if math.isnan(p) else -p, estimate.effect)


def _agrees(step: _Step, alpha: float, images_p: float | None) -> bool:
    arms, paired = align(step.arms)
    parts = [w * np.asarray(arm.errors) for w, arm in zip(step.weights, arms, strict=True)]
    if min(part.size for part in parts) == 1:
        return images_p is not None and images_p <= alpha
    if paired:
        return bool((np.sum(parts, axis=0) > 0).all())
    return sum(float(part.min()) for part in parts) > 0


def _images_p(step: _Step) -> float | None:
    """One-sided p for the step over test images; None for gaps or without kept predictions."""
    arms, paired = align(step.arms)
    order = sorted(range(len(arms)), key=step.weights.__getitem__)
    better, worse = arms[order[0]].correct, arms[order[-1]].correct
    if len(arms) != 2 or better is None or worse is None:
        return None
    if min(len(better), len(worse)) > 1:
        return hierarchical_bootstrap(better, worse, paired_seeds=paired).p_b_worse
    tests = [mcnemar(a, b) for a, b in itertools.product(better, worse)]
    return max(t.p_mid / 2 if t.b >= t.c else 1 - t.p_mid / 2 for t in tests)


def _seeds_needed(
    step: _Step,
    estimate: Estimate,
    alpha: float,
    margin: float | None,
    printed: Sequence[float],
    planning_sd: float | None,
    *,
    tests: int,
) -> int | None:
    """Seeds to see the printed difference (without one: ours), or to show equivalence if equal."""
    sd = estimate.sd
    if not math.isfinite(sd) and planning_sd is not None:
        sd = planning_sd * math.hypot(*step.weights)
    if margin is not None:
        delta, tests = margin, 2  # at a true difference of 0 both one-sided tests must reject
    else:
        delta = min(printed, default=estimate.effect)
    power = per_test_power(tests)
    seeds = seeds_for_contrast(delta, sd, estimate.groups, alpha=alpha, power=power)
    return None if seeds is None else max(MIN_SEEDS, seeds)
