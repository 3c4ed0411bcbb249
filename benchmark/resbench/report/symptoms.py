"""What the results themselves say about a difference from print, a check each."""

from __future__ import annotations

import math
from collections.abc import Iterator

from resbench.report.findings import NOTICEABLE_PP, Finding, Subject
from resbench.report.labels import count, listed
from resbench.stats.intervals import sampling_sd

FAR_SDS = 4.5
"""Of 10 x 10 rates drawn as they should be, none lies this far off once in 1,000 runs."""


def fit(subject: Subject) -> Iterator[Finding]:
    """Say whether the network learnt its training images, or learnt them by heart."""
    place = subject.place
    if not subject.epochs or place is None or place.metric != "test_top1_err" or not place.printed:
        return
    printed = float(place.printed.value or "nan")
    train, test = subject.mean(lambda e: e.train_top1_err), subject.mean(lambda e: e.test_top1_err)
    floor = 100 * (1 - subject.spec.data.clean_ratio)
    labels = f" where corrupted labels alone give {floor:.0f} %" if floor else ""
    evidence = f"training error {train:.2f} % in the last epoch{labels}, test error {test:.2f} %"
    if train - floor > printed + 1:
        why = "Underfitted: even training images are wrong more often than printed test images."
        yield Finding("fit", evidence, why, train - floor - printed)
    elif floor and train < floor - 1:
        why = f"{floor - train:.0f} points of corrupted labels were learnt by heart."
        yield Finding("fit", evidence, why, max(0.0, test - printed) or None)
    elif test > printed + 1:
        why = "Overfitted: what is missing is generalisation, not training."
        yield Finding("fit", evidence, why, test - max(printed, train - floor))
    else:
        yield Finding("fit", evidence, "Neither under- nor overfitted beside print.", 0.0)


def seeds(subject: Subject) -> Iterator[Finding]:
    """Say how far runs of one specification lie apart."""
    lost, place = len(subject.cell.diverged), subject.place or next(iter(subject.places), None)
    if lost:
        reason = subject.cell.diverged[0].reason
        evidence = f"{lost} of {count(len(subject.cell.records), 'run')}, the first: {reason}"
        yield Finding("diverged runs", evidence, "The mean is that of the survivors.")
    if place is None or place.mean is None:
        return
    if place.interval is None or place.sd is None:
        yield Finding("seeds", f"one run, {place.mean:.2f} %", "Its luck is not known.")
        return
    reach = (place.interval[1] - place.interval[0]) / 2
    evidence = (
        f"{len(place.values)} runs, sd {place.sd:.2f} pp; one more lies within ±{reach:.2f} pp"
    )
    yield Finding("seeds", evidence, "The printed number is one draw; its luck is unknown.", reach)


def curve(subject: Subject) -> Iterator[Finding]:
    """Say whether the test error still falls when training ends."""
    n = min((len(rows) for rows in subject.epochs), default=0)
    if n < 4:
        return
    k = max(1, n // 10)
    errors = [math.fsum(rows[i].test_top1_err for rows in subject.epochs) for i in range(n)]
    before, last = (math.fsum(part) / k / len(subject.epochs) for part in
                    (errors[n - 2 * k : n - k], errors[n - k :]))  # fmt: skip
    tested = sum(run.data.test_images for run in subject.cell.done)
    noise = sampling_sd(last, tested)
    fall = f"test error {before:.2f}, then {last:.2f} % in the last {count(k, 'epoch')} of {n}"
    evidence = f"{fall}, lr {subject.epochs[0][-1].lr:.3g}; chance moves it by {noise:.2f} pp"
    if before - last > max(NOTICEABLE_PP, noise):
        why = "Still falling at the end: training longer may go on with it."
        yield Finding("learning curve", evidence, why, before - last)
    else:
        why = "No clear fall at the end: its schedule was used up."
        yield Finding("learning curve", evidence, why, 0.0)


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
        )


def label_noise(subject: Subject) -> Iterator[Finding]:
    """Compare the labels that were trained on with the transition matrix of the source."""
    r = subject.spec.data.clean_ratio
    measured = [(run.data.noise_transition, run.data.train_images) for run in subject.cell.records]
    worst, mean = 0.0, []
    for rates, n_images in measured:
        if rates is None:
            continue
        classes = math.isqrt(len(rates))
        mean.append(math.fsum(rates[:: classes + 1]) / classes)
        for i, rate in enumerate(rates):
            q = r if i % (classes + 1) == 0 else (1 - r) / (classes - 1)
            sd = math.sqrt(q * (1 - q) * classes / n_images)
            if sd or rate != q:
                worst = max(worst, abs(rate - q) / sd if sd else math.inf)
    if mean:
        kept = f"{100 * math.fsum(mean) / len(mean):.1f} % of training labels kept, r = {r:g}"
        evidence = f"{kept}; the rate furthest from Q is {worst:.1f} sds off"
        if worst > FAR_SDS:
            yield Finding("label noise", evidence, "Chance does not do that: another noise.")
        else:
            yield Finding("label noise", evidence, "The labels are corrupted as Q says.", 0.0)
