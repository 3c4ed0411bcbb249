"""Measures how often each verdict is wrong, with the functions that reports are made with.

Writes the section "Measured" of docs/statistics.md: ``python tools/simulate.py --write``. A test
recomputes a part of it, so that page and functions stay together.

A study has eight seeds an arm and is read at each look: three, five and eight. A row counts the
studies in which a verdict was wrong at some look, in percent.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resbench.stats.cells import judge_cell
from resbench.stats.claims import ClaimVerdict, Question, judge_questions
from resbench.stats.contrasts import estimate, other_images_p
from resbench.stats.multiplicity import LOOKS
from resbench.stats.spread import Arm, reference_variance
from resbench.suite.claims import Operator, ParsedClaim

PAGE = Path(__file__).resolve().parents[1] / "docs" / "statistics.md"
BEGIN, END = "<!-- measured by tools/simulate.py -->", "<!-- end of what it measured -->"
REPETITIONS = 3000
SEEDS = tuple(range(1, LOOKS[-1] + 1))
GUESSING = 90.0
Rng = np.random.Generator
Errors = NDArray[np.float64]
Draw = Callable[[Rng], list[Question]]


def normal(rng: Rng, mean: float, sd: float) -> Errors:
    """Errors of eight seeds."""
    return mean + sd * rng.standard_normal(len(SEEDS))


def arm(name: str, errors: Errors, *, n_test: int = 10_000) -> Arm:
    """An arm without predictions; an error of guessing is a diverged run."""
    values = tuple(float(error) for error in errors)
    lost = frozenset(s for s, error in zip(SEEDS, values, strict=True) if error == GUESSING)
    return Arm(name, SEEDS, values, n_test, lost)


def predicted(rng: Rng, name: str, mean: float, seed_sd: float, images: int = 2000) -> Arm:
    """An arm with predictions: easy and hard images, flips, and a shift of the whole run."""
    rates = np.linspace(0, 1, images) ** (100 / mean - 1)  # hard images err always, most never
    shifts = seed_sd / 100 * rng.standard_normal((len(SEEDS), 1))
    # A run's shift moves the images that are in doubt, so that its mean moves by the shift.
    doubt = rates * (1 - rates)
    chance = np.clip(rates + shifts * doubt / doubt.mean(), 0, 1)
    correct = rng.random((len(SEEDS), images)) >= chance
    errors = 100 * (1 - correct.mean(axis=1))
    kept = dict(zip(SEEDS, correct, strict=True))
    return Arm(name, SEEDS, tuple(map(float, errors)), images, kept=kept)


def ask(arms: Sequence[Arm], pairs: Sequence[tuple[int, int]], claims: int = 0) -> list[Question]:
    """Claims that the first arm of each pair errs less, in a suite of ``claims`` in all."""
    suite = {a.cell: a for a in arms}
    found = [Question(less(arms[i].cell, arms[j].cell), suite, SEEDS) for i, j in pairs]
    # A declared claim whose cells have no run takes its part of the correction.
    empty = {name: Arm(name, (), ()) for name in "01"}
    rest = Question(less("0", "1"), {**suite, **empty}, SEEDS)
    return found + [rest] * (claims - len(found))


def less(*cells: str) -> ParsedClaim:
    """A claim that each cell errs less than the next."""
    operator: Operator = "<" if len(cells) == 2 else "monotone_increasing"
    return ParsedClaim(operator, tuple((cell,) for cell in cells))


def spreads(*sds: float, mean: float = 5.0) -> Draw:
    """Neighbouring arms with equal means are compared, each pair a claim."""
    return lambda rng: pairs([normal(rng, mean, sd) for sd in sds])


def pairs(errors: Sequence[Errors], claims: int = 0) -> list[Question]:
    """Two kinds of arms, a and b, compared on each level."""
    arms = [arm(f"{i // 2}/{'ab'[i % 2]}", own) for i, own in enumerate(errors)]
    return ask(arms, [(i, i + 1) for i in range(0, len(arms), 2)], claims)


def failing(rng: Rng, mean: float, sd: float, share: float, jump: float) -> Errors:
    """Errors of an arm of which a share of the seeds fails by ``jump``, at the same mean."""
    return normal(rng, mean - share * jump, sd) + jump * (rng.random(len(SEEDS)) < share)


def diverging(rng: Rng, share: float, mean: float = 5.0, sd: float = 0.2) -> Errors:
    """Errors of an arm of which a share of the runs diverges."""
    return np.where(rng.random(len(SEEDS)) < share, GUESSING, normal(rng, mean, sd))


def chain(rng: Rng, means: Sequence[float], published: Sequence[float] = ()) -> list[Question]:
    """A claim that each arm errs more than the one before it."""
    arms = {f"a{i}": arm(f"a{i}", normal(rng, m, 0.2)) for i, m in enumerate(means)}
    return [Question(less(*arms), arms, SEEDS, published=published)]


def gaps(rng: Rng, rise: float, published: float) -> list[Question]:
    """A claim that the gap of two arms grows over three levels."""
    means = [m for level in range(3) for m in (5.0, 5.5 + rise * level / 2)]
    arms = {f"a{i}": arm(f"a{i}", normal(rng, m, 0.2)) for i, m in enumerate(means)}
    claim = ParsedClaim("gap_grows", (("a0", "a1"), ("a2", "a3"), ("a4", "a5")))
    return [Question(claim, arms, SEEDS, published=[published])]


def two(first: Callable[[Rng], Errors], second: Callable[[Rng], Errors]) -> Draw:
    """One claim on two arms."""
    return lambda rng: ask([arm("a", first(rng)), arm("b", second(rng))], [(0, 1)])


def _suite(rng: Rng, noisy: bool) -> list[Question]:
    return pairs([normal(rng, 5.0, 1.0 if noisy and i % 2 else 0.2) for i in range(8)], 7)


def unreliable(rng: Rng, levels: int, *, lucky: bool = False) -> list[Question]:
    """Of each pair the first arm fails with one seed in five, and is no better on average.

    Or the second is ``lucky`` with one in five.
    """
    kinds = ((0.0, 0.0), (0.2, -3.0)) if lucky else ((0.2, 3.0), (0.0, 0.0))
    return pairs([failing(rng, 5, 0.2, *kinds[i % 2]) for i in range(2 * levels)])


def _with_predictions(sd: float, other: float) -> Draw:
    return lambda rng: ask(
        [predicted(rng, "a", 8.0, sd), predicted(rng, "b", 8.0, other)], [(0, 1)]
    )


def _published(size: float, sd: float = 0.0) -> Draw:
    """A difference of two arms, published as it is, or by two single runs that spread by ``sd``."""

    def draw(rng: Rng) -> list[Question]:
        one, other = arm("a", normal(rng, 5, 0.2)), arm("b", normal(rng, 5 + size, 0.2))
        published = size + sd * float(rng.standard_normal() - rng.standard_normal())
        return [replace(ask([one, other], [(0, 1)])[0], published=[published])]

    return draw


EQUAL: Mapping[str, Draw] = {
    "two arms, sd 0.2": spreads(0.2, 0.2),
    "two arms, sd 0.2 and 1.0": spreads(0.2, 1.0),
    "two arms, sd 1.1 and 5.7": spreads(1.1, 5.7, mean=40.0),
    "eight arms, one with five times the sd": spreads(0.2, 1.0, *[0.2] * 6),
    "14 arms, three with five times the sd, family of 7": spreads(*[0.2, 1.0] * 3, *[0.2] * 8),
    "eight arms of sd 0.2, family of 7 claims": lambda rng: _suite(rng, False),
    "eight arms of sd 0.2 and 1.0 in turn, family of 7": lambda rng: _suite(rng, True),
    "predictions kept, chance flips alone": _with_predictions(0.0, 0.0),
    "predictions kept, seed effect 0.5 and 0.5": _with_predictions(0.5, 0.5),
    "predictions kept, seed effect 0 and 2": _with_predictions(0.0, 2.0),
    "chain of four equal arms": lambda rng: chain(rng, [5.0] * 4),
    "gap that does not grow": lambda rng: gaps(rng, 0.0, 0.5),
    "both arms: 1 seed in 5 fails by 3 points": two(
        lambda rng: failing(rng, 5, 0.2, 0.2, 3), lambda rng: failing(rng, 5, 0.2, 0.2, 3)
    ),
    "both arms: 1 run in 5 diverges": two(
        lambda rng: diverging(rng, 0.2), lambda rng: diverging(rng, 0.2)
    ),
    "first arm diverges in 1 of 5 runs, else equal": two(
        lambda rng: diverging(rng, 0.2), lambda rng: normal(rng, 5, 0.2)
    ),
    "equal means, first arm: 1 seed in 5 fails by 3 points": lambda rng: unreliable(rng, 1),
    "equal means, first arms of two pairs: the same way": lambda rng: unreliable(rng, 2),
    "equal means, first arms of four pairs: the same way": lambda rng: unreliable(rng, 4),
    "equal means, second arm: 1 seed in 5 is better by 3 points": lambda rng: unreliable(
        rng, 1, lucky=True
    ),
    "equal means, second arms of four pairs: the same way": lambda rng: unreliable(
        rng, 4, lucky=True
    ),
    "14 arms of sd 0.2 and 1.0 in turn, family of 7": spreads(*[0.2, 1.0] * 7),
}
"""Arms without a true difference in their mean error: any decided verdict is wrong."""

PUBLISHED: Mapping[str, Draw] = {
    "difference as published, 0.37": _published(0.37),
    "difference of 0.37, published by two single runs": _published(0.37, 0.2),
    "chain of four, every step as published, 0.4": lambda rng: chain(
        rng, [5.0, 5.4, 5.8, 6.2], [0.4] * 3
    ),
    "gap that grows as published, by 1.0": lambda rng: gaps(rng, 1.0, 1.0),
}
"""Claims that are true at the published size: only "smaller" and "contradicted" are wrong."""


@dataclass(frozen=True)
class Rates:
    """Shares of studies, in percent, with a verdict on any claim: at each look, and at any."""

    confirmed: tuple[float, ...]
    contradicted: tuple[float, ...]
    smaller: tuple[float, ...]
    leans: tuple[float, ...]
    """For, on the first claim."""


def at_look(questions: Sequence[Question], look: int) -> tuple[ClaimVerdict, ...]:
    """Judge a study when it has this many seeds."""
    seeds = SEEDS[:look]
    suites = {id(q.arms): {cell: a.only(seeds) for cell, a in q.arms.items()} for q in questions}
    return judge_questions([replace(q, arms=suites[id(q.arms)], seeds=seeds) for q in questions])


def rates(draw: Draw, repetitions: int, seed: int) -> Rates:
    """Simulate studies and count verdicts."""
    rng = np.random.default_rng(seed)
    kinds = ("confirmed", "contradicted", "smaller", "leans_for")
    seen = np.zeros((len(kinds), repetitions, len(LOOKS)), dtype=bool)
    for i in range(repetitions):
        questions = draw(rng)
        for j, look in enumerate(LOOKS):
            found = [one.verdict for one in at_look(questions, look)]
            for k, kind in enumerate(kinds):
                # A lean is not corrected for other claims: count it on one claim.
                seen[k, i, j] = kind in (found[:1] if kind == "leans_for" else found)
    each = 100 * seen.mean(axis=1)
    ever = 100 * seen.any(axis=2).mean(axis=1)
    return Rates(*(tuple(map(float, (*each[k], ever[k]))) for k in range(len(kinds))))


def power(difference: float, sd: float, claims: int, repetitions: int, seed: int) -> Rates:
    """Simulate a true difference in a suite of four pairs of arms, on one of its claims."""

    def draw(rng: Rng) -> list[Question]:
        first = pairs([normal(rng, 5.0 + difference * (i == 1), sd) for i in range(8)])[0]
        return [first, *ask(list(first.arms.values()), [], claims - 1)]

    return rates(draw, repetitions, seed)


def within(value: float, interval: tuple[float, float]) -> bool:
    """Whether a value lies in an interval."""
    return interval[0] <= value <= interval[1]


def coverage(
    sds: tuple[float, float], look: int, kept: bool, repetitions: int, seed: int
) -> tuple[float, float]:
    """Return how often intervals at 95 % hold: of the difference, and of one new run of an arm."""
    rng = np.random.default_rng(seed)
    held = np.zeros((repetitions, 2), dtype=bool)

    def drawn(name: str, sd: float) -> Arm:
        return predicted(rng, name, 8.0, sd) if kept else arm(name, normal(rng, 5.0, sd))

    for i in range(repetitions):
        arms = [drawn("a", sds[0]).only(SEEDS[:look]), drawn("b", sds[1]).only(SEEDS[:look])]
        references = [reference_variance(a.chance_variance, ()) for a in arms]
        held[i, 0] = within(0, estimate(arms, (-1, 1), references).interval())
        own = judge_cell(arms[1], SEEDS, None).interval
        held[i, 1] = within(drawn("c", sds[1]).errors[0], own)
    share = 100 * held.mean(axis=0)
    return float(share[0]), float(share[1])


def cells(true: float, repetitions: int, seed: int) -> Mapping[str, float]:
    """Return verdicts on one published run, whose method errs ``true`` points less than ours."""
    rng = np.random.default_rng(seed)
    counts = dict.fromkeys(("replicated", "better", "worse"), 0)
    for _ in range(repetitions):
        ours = arm("a", normal(rng, 5.0 + true, 0.2))
        published = f"{rng.normal(5.0, 0.2):.2f}"
        found = {judge_cell(ours.only(SEEDS[:n]), SEEDS[:n], published).kind for n in LOOKS}
        for kind in counts:
            counts[kind] += kind in found
    return {kind: 100 * n / repetitions for kind, n in counts.items()}


def hidden(repetitions: int, seed: int) -> list[tuple[float, float]]:
    """Return how often an unreliable arm is called better: before and after a seed has failed.

    In percent of such studies, at each look.
    """
    rng = np.random.default_rng(seed)
    found: list[list[list[bool]]] = [[[], []] for _ in LOOKS]
    for _ in range(repetitions):
        (question,) = unreliable(rng, 1)
        errors = question.arms["0/a"].errors
        for look, split in zip(LOOKS, found, strict=True):
            failed = max(errors[:look]) > 6  # good seeds err 4.4, failed ones 7.4
            split[failed].append(at_look([question], look)[0].verdict == "confirmed")
    return [(100 * float(np.mean(a)), 100 * float(np.mean(b))) for a, b in found]


def other_images(repetitions: int, seed: int) -> float:
    """Return how often p for other test images is at most 5 % for equal arms on new images."""
    rng = np.random.default_rng(seed)
    wrong = 0
    for _ in range(repetitions):
        hard = rng.beta(0.1, 1.1, size=2000)
        pair = [rng.random((3, 2000)) >= _own(rng, hard) for _ in range(2)]
        arms = []
        for name, correct in zip("ab", pair, strict=True):
            errors = [float(e) for e in 100 * (1 - correct.mean(axis=1))]
            kept = dict(enumerate(correct, 1))
            arms.append(Arm(name, (1, 2, 3), tuple(errors), 2000, kept=kept))
        found = estimate(arms, (-1, 1), [a.chance_variance for a in arms])
        wrong += other_images_p(found, pair[0], pair[1]) <= 0.05
    return 100 * wrong / repetitions


def _own(rng: Rng, hard: Errors) -> Errors:
    """Difficulties that one method has with the images, of the same mean for every method."""
    return np.clip(hard * rng.choice([0.0, 2.0], size=hard.size), 0, 1)


def tables(repetitions: int, only: Sequence[str] | None = None) -> dict[str, list[list[str]]]:
    """Return the rows of every table of the page by its title; ``only`` some rows, by label."""

    def wanted(label: str) -> bool:
        return only is None or label in only

    found: dict[str, list[list[str]]] = {"wrong": [], "published": [], "power": [], "cover": []}
    for number, (label, draw) in enumerate(EQUAL.items()):
        if wanted(label):
            r = rates(draw, repetitions, number)
            found["wrong"].append([
                label, *map(_share, r.confirmed), _share(r.contradicted[-1]), _share(r.leans[0]),
            ])  # fmt: skip
    for number, (label, draw) in enumerate(PUBLISHED.items()):
        if wanted(label):
            r = rates(draw, repetitions, 100 + number)
            row = [r.smaller[-1], r.contradicted[-1], *r.confirmed[:-1]]
            found["published"].append([label, *map(_share, row)])
    for number, difference in enumerate((0.2, 0.4, 0.6, 0.8, 1.0)):
        label = f"{difference:.1f} pp"
        if wanted(label):
            alone = power(difference, 0.2, 1, repetitions, 200 + number).confirmed[:-1]
            seven = power(difference, 0.2, 7, repetitions, 200 + number).confirmed[:-1]
            found["power"].append([label, *map(_share, (*alone, *seven))])
    for number, (label, sds, kept) in enumerate((
        ("sd 0.2 and 0.2", (0.2, 0.2), False),
        ("sd 0.2 and 1.0", (0.2, 1.0), False),
        ("sd 1.0 and 1.0", (1.0, 1.0), False),
        ("predictions kept, chance flips alone", (0.0, 0.0), True),
        ("predictions kept, seed effect 0.5", (0.5, 0.5), True),
    )):  # fmt: skip
        if wanted(f"coverage, {label}"):
            each = [coverage(sds, look, kept, repetitions, 300 + number) for look in LOOKS]
            row = [d for d, _ in each] + [o for _, o in each]
            found["cover"].append([f"coverage, {label}", *map(_share, row)])
    return found


def _share(value: float) -> str:
    return f"{value:.1f}"


HEADERS = {
    "wrong": ["no true difference", "n = 3", "n = 5", "n = 8", "any look", "contradicted",
              "leans, n = 3"],
    "published": ["true as published", "smaller", "contradicted", "confirmed, n = 3", "n = 5",
                  "n = 8"],
    "power": ["true difference", "1 claim, n = 3", "n = 5", "n = 8", "7 claims, n = 3", "n = 5",
              "n = 8"],
    "cover": ["interval at 95 %", "difference, n = 3", "n = 5", "n = 8", "new run, n = 3",
              "n = 5", "n = 8"],
}  # fmt: skip


def page(repetitions: int) -> str:
    """Return the section of the page between its two marks."""
    found = tables(repetitions)
    parts = []
    for name, header in HEADERS.items():
        rows = [header, ["---", *["---:"] * (len(header) - 1)], *found[name]]
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    near, far = cells(0.0, repetitions, 400), cells(1.0, repetitions, 401)
    images = other_images(repetitions, 402)
    parts.append(
        "A published run of the same method (sd 0.2), at any look: replicated "
        f"{near['replicated']:.1f}, better {near['better']:.1f}, worse {near['worse']:.1f} %. Of a "
        f"method 1.0 pp better than ours: replicated {far['replicated']:.1f}, worse "
        f"{far['worse']:.1f} %. For two equal arms, p for other test images is at most 0.05 in "
        f"{images:.1f} %."
    )
    unseen, seen = zip(*hidden(repetitions, 403), strict=True)
    parts.append(
        "An arm of equal mean of which 1 seed in 5 fails by 3 points is confirmed to be better, at "
        f"3, 5 and 8 seeds, in {', '.join(map(_share, unseen))} % of the studies in which no seed "
        f"has failed yet, and in {', '.join(map(_share, seen))} % of the others."
    )
    return "\n\n".join(parts)


def main(arguments: Sequence[str]) -> int:
    """Print the section, or write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write into {PAGE.name}")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    chosen = parser.parse_args(arguments)
    text = page(chosen.repetitions)
    if not chosen.write:
        print(text)
        return 0
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
