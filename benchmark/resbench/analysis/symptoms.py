"""What the results themselves say about a difference from print, a check each.

All but the label noise are symptoms: how a difference shows, not where it comes from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from resbench.analysis.findings import NOTICEABLE_PP, Finding, Subject
from resbench.analysis.names import listed
from resbench.stats.intervals import sampling_sd
from resbench.suite.schema import ERROR_METRICS, PaperValue
from resbench.words import count

CHANCE = 0.001
"""Rates that lie this seldom so far off, as the furthest of all that are looked at, are others."""


def fit(subject: Subject) -> Iterator[Finding]:
    """Say whether the network learnt its training images, or learnt them by heart."""
    place = subject.place
    if not subject.epochs or place is None or place.metric != "test_top1_err" or not place.printed:
        return
    printed = _number(place.printed)
    train, test = subject.mean(lambda e: e.train_top1_err), subject.mean(lambda e: e.test_top1_err)
    floor = _floor(subject)
    labels = f" where corrupted labels alone give {floor:.0f} %" if floor else ""
    evidence = f"training error {train:.2f} % in the last epoch{labels}, test error {test:.2f} %"
    if _underfitted(subject, printed):
        why = "Underfitted: even training images are wrong more often than printed test images."
        yield Finding("fit", evidence, why, train - floor - printed, "symptom")
    elif floor and train < floor - 1:
        why = f"{floor - train:.0f} points of corrupted labels were learnt by heart."
        yield Finding("fit", evidence, why, max(0.0, test - printed) or None, "symptom")
    elif test > printed + 1:
        why = "Overfitted: what is missing is generalisation, not training."
        yield Finding("fit", evidence, why, test - max(printed, train - floor), "symptom")
    else:
        why = "Neither under- nor overfitted beside print."
        yield Finding("fit", evidence, why, 0.0, "symptom")


def seeds(subject: Subject) -> Iterator[Finding]:
    """Say how far runs of one specification lie apart."""
    errors = (place for place in subject.places if place.metric in ERROR_METRICS)
    lost, place = len(subject.cell.diverged), subject.place or next(errors, None)
    if lost:
        reason = subject.cell.diverged[0].reason
        evidence = f"{lost} of {count(len(subject.cell.records), 'run')}, the first: {reason}"
        why = "The mean is that of the survivors."
        yield Finding("diverged runs", evidence, why, kind="symptom")
    if place is None or place.mean is None:
        return
    if place.interval is None or place.sd is None:
        alone = f"one run, {place.mean:.2f} %"
        yield Finding("seeds", alone, "Its luck is not known.", kind="symptom")
        return
    reach = (place.interval[1] - place.interval[0]) / 2
    evidence = (
        f"{len(place.values)} runs, sd {place.sd:.2f} pp; one more lies within ±{reach:.2f} pp"
    )
    why = "The printed number is one draw; its luck is unknown."
    yield Finding("seeds", evidence, why, reach, "symptom")


def curve(subject: Subject) -> Iterator[Finding]:
    """Say whether the test error still falls when training ends."""
    n, place = min((len(rows) for rows in subject.epochs), default=0), subject.place
    if n < 4:
        return
    k = max(1, n // 10)
    errors = [math.fsum(rows[i].test_top1_err for rows in subject.epochs) for i in range(n)]
    before, last = (math.fsum(part) / k / len(subject.epochs) for part in
                    (errors[n - 2 * k : n - k], errors[n - k :]))  # fmt: skip
    tested = sum(run.data.test_images for run in subject.cell.done)
    noise = sampling_sd(last, tested)
    end = "epoch" if k == 1 else count(k, "epoch")
    fall = f"test error {before:.2f}, then {last:.2f} % in the last {end} of {n}"
    evidence = f"{fall}, lr {subject.epochs[0][-1].lr:.3g}; chance moves it by {noise:.2f} pp"
    if before - last > max(NOTICEABLE_PP, noise):
        why = "Still falling at the end: training longer may go on with it."
        yield Finding("learning curve", evidence, why, before - last, "symptom")
    elif place is not None and place.printed and _underfitted(subject, _number(place.printed)):
        why = "No clear fall at the end, and underfitted: a longer schedule may still help."
        yield Finding("learning curve", evidence, why, None, "symptom")
    else:
        why = "No clear fall at the end: its schedule was used up."
        yield Finding("learning curve", evidence, why, 0.0, "symptom")


def checkpoint(subject: Subject) -> Iterator[Finding]:
    """Compare the last epoch with the best on the test set."""
    results = [run.result for run in subject.cell.done]
    pairs = [(r.test_top1_err, r.best_test_top1_err) for r in results]
    gains = [last - best for last, best in pairs if last is not None and best is not None]
    if gains:
        gain = math.fsum(gains) / len(gains)
        epochs = listed(r.best_epoch for r in results)
        yield Finding(
            "last epoch against best",
            f"the best epoch on the test set ({epochs}) is {gain:.2f} pp lower"
            if gain
            else "the last epoch is the best on the test set",
            "A source that scores its best epoch prints that; ours is the last.",
            round(gain, 6),
            "symptom",
        )


def label_noise(subject: Subject) -> Iterator[Finding]:
    """Compare the labels that were trained on with the rates of the source.

    Wang et al. 2017, section 4.1: a label stays with probability r, and otherwise becomes any of
    the other classes alike. Of many rates some lie far off by chance, so the probability of the
    furthest is that of the furthest of all (Sidak).
    """
    r = subject.spec.data.clean_ratio
    kept, rates = [], list[tuple[float, float, int]]()
    for run in subject.cell.records:
        measured = run.data.noise_transition
        if measured is not None:
            classes = math.isqrt(len(measured))
            kept.append(math.fsum(measured[:: classes + 1]) / classes)
            others, images = (1 - r) / (classes - 1), round(run.data.train_images / classes)
            due = (r if i % (classes + 1) == 0 else others for i in range(len(measured)))
            rates += [(rate, q, images) for rate, q in zip(measured, due, strict=True)]
    if not kept:
        return
    chance, sds = _furthest(rates)
    evidence = (
        f"{100 * math.fsum(kept) / len(kept):.1f} % of training labels kept, r = {r:g}; of "
        f"{len(rates)} rates from class to class the furthest from the source's (r to itself, the "
        f"rest to the other classes alike) is {sds:.1f} sds off, p = {chance:.2g} for the furthest"
        " of so many"
    )
    if chance < CHANCE:
        yield Finding("label noise", evidence, "Chance does not do that: another noise.")
    else:
        yield Finding("label noise", evidence, "The labels are corrupted as the source says.", 0.0)


def _furthest(rates: Sequence[tuple[float, float, int]]) -> tuple[float, float]:
    """Return how likely the furthest of (rate, what is due, images) is, and its distance in sds.

    Binomial, for a rate may be a few images of a few hundred.
    """
    import numpy as np
    from scipy import special

    rate, due, images = np.asarray(rates).T
    hits, n = np.rint(rate * images), images.astype(int)
    tail = 2 * np.minimum(special.bdtr(hits, n, due), special.bdtrc(hits - 1, n, due))
    least = int(np.argmin(tail))
    chance = -math.expm1(len(rates) * math.log1p(-min(tail[least], 1 - 1e-12)))
    sd = math.sqrt(due[least] * (1 - due[least]) / images[least])
    off = abs(rate[least] - due[least])
    return chance, off / sd if sd else math.inf if off else 0.0


def _floor(subject: Subject) -> float:
    """Return the training error that corrupted labels alone give, in percent."""
    return 100 * (1 - subject.spec.data.clean_ratio)


def _underfitted(subject: Subject, printed: float) -> bool:
    """Whether even training images are wrong more often than printed test images."""
    return subject.mean(lambda e: e.train_top1_err) - _floor(subject) > printed + 1


def _number(printed: PaperValue) -> float:
    return float(printed.value or "nan")
