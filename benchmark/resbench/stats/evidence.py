"""What the seeds and the test images say about a claim: one or more contrasts between arms.

The p-value that decides comes from the seeds (`seed_contrast`): a claim is about a way of training,
and its unit of repetition is the run. The images only tell whether it would hold on others too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from resbench.stats.contrasts import ArmResult, Estimate, align, seed_contrast
from resbench.stats.equivalence import beyond_p, equivalence_p
from resbench.stats.intervals import Interval
from resbench.stats.paired import hierarchical_bootstrap, mcnemar
from resbench.stats.power import seeds_to_decide
from resbench.stats.steps import Operator, Step, steps_of


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

    @property
    def interval(self) -> Interval:
        """Of the effect at level 1 - 2 alpha, so that it excludes 0 exactly when p < alpha."""
        return self.estimate.interval(1 - 2 * self.alpha)


def gather(
    operator: Operator,
    terms: Sequence[tuple[ArmResult, ...]],
    *,
    alpha: float = 0.05,
    margin: float | None = None,
    printed_difference: float | Sequence[float] | None = None,
    comparable: bool = True,
    planning_sd: float | None = None,
    claims: int = 1,
) -> Evidence:
    """Compute the evidence for a claim, not yet corrected for the number of a suite's claims.

    `<`, `>`: error(first) is below, above error(second). `~`: they differ by less than `margin`
    points (TOST). `monotone_*`: the error falls or rises at each step along the terms; an
    intersection-union test (Berger 1982), p is that of the weakest step. `gap_grows`: terms are
    pairs (a, b) in the order of the levels, else an arm each; the linear trend of
    error(b) - error(a) is upward, the effect being its rise from the first to the last level.

    `printed_difference` is the source's, in points, positive in the claimed direction (a monotone
    claim: every step's, or the smallest; `gap_grows`: the rise of the same trend). It decides
    nothing where the runs are not `comparable`, of another setting than the source's. The seeds
    needed are those at `alpha / claims`, where Holm asks most of a suite's `claims`; `planning_sd`
    is a guess of one run's sd for them while none is measured.

    Raises:
        ValueError: a claim that cannot be put: unknown operator, wrong number of terms, margin
            missing or out of place.
    """
    steps = steps_of(operator, terms)
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


def _per_step(printed: float | Sequence[float] | None, steps: int) -> tuple[float, ...]:
    """Return the printed effect of every step; one number is the smallest of them."""
    if printed is None:
        return ()
    values = tuple(printed) if isinstance(printed, Sequence) else (printed,) * steps
    if len(values) != steps:
        raise ValueError(f"{len(values)} printed differences for {steps} steps")
    return values


def _claimed(operator: Operator, step: Step[ArmResult]) -> str:
    sign = " < " if operator == "monotone_increasing" else " > "
    return sign.join(arm.cell for arm in step.arms)


def _weakness(estimate: Estimate) -> tuple[bool, float, float]:
    """Sort key: an unknown p first, then the largest p."""
    p = estimate.p_above()
    return (not math.isnan(p), 0.0 if math.isnan(p) else -p, estimate.effect)


def _agrees(step: Step[ArmResult], alpha: float, images_p: float | None) -> bool:
    arms, paired = align(step.arms)
    parts = [w * np.asarray(arm.errors) for w, arm in zip(step.weights, arms, strict=True)]
    if min(part.size for part in parts) == 1:
        return images_p is not None and images_p <= alpha
    if paired:
        return bool((np.sum(parts, axis=0) > 0).all())
    return sum(float(part.min()) for part in parts) > 0


def _images_p(step: Step[ArmResult]) -> float | None:
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
    step: Step[ArmResult],
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
    return seeds_to_decide(delta, sd, estimate.groups, alpha=alpha, tests=tests)
