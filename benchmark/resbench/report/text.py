"""Numbers, verdicts and notes as people read them; every word for a verdict is here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from resbench.analysis.names import SPLITS, listed
from resbench.report.document import Verdict
from resbench.stats.cells import MARGIN_PP
from resbench.stats.multiplicity import ALPHA
from resbench.suite.metrics import METRICS
from resbench.suite.schema import SIGNAL_METRICS, Claim
from resbench.words import count

if TYPE_CHECKING:
    from resbench.analysis.claims import JudgedClaim
    from resbench.analysis.values import JudgedValue, ValueKind
    from resbench.stats.claims import ClaimKind

CLAIMS: dict[ClaimKind, Verdict] = {
    "confirmed": Verdict("confirmed", "for"),
    "contradicted": Verdict("contradicted", "against"),
    "holds_here": Verdict("holds here", "for"),
    "reversed_here": Verdict("reversed here", "against"),
    "smaller": Verdict("smaller than published"),
    "leans_for": Verdict("leans for"),
    "leans_against": Verdict("leans against"),
    "undecided": Verdict("undecided"),
    "not_learnt": Verdict("order at this stage of training"),
    "not_run": Verdict("not run"),
}
UNDECIDED: tuple[ClaimKind, ...] = ("leans_for", "leans_against", "undecided")
VALUES: dict[ValueKind, tuple[str, str]] = {
    "replicated": (
        "✓",
        "replicated: the two errors are shown to be within 1 point of each other, not to be equal",
    ),
    "better": ("↓", "better: the measured error is lower, by more than chance explains"),
    "worse": ("↑", "worse: the measured error is higher, by more than chance explains"),
    "undecided": ("?", "undecided: too few runs, runs that differ too much, or one that diverged"),
    "equal": ("=", "equal to the published value, after rounding"),
    "differs": ("≠", "differs from the published value"),
    "not_comparable": ("○", "not comparable with the published value"),
}
"""The sign of each verdict on a value, and what it means."""


def published_evidence(claim: JudgedClaim) -> str:
    """Return what the published numbers themselves show, at one run a cell."""
    z = claim.published_z
    if z is None:
        return ""
    if claim.claim.margin_pp is not None:
        return f"{abs(z):.1f} sd apart"  # a large difference is no evidence that arms are alike
    if z <= -1:
        return f"against ({z:.1f} sd)"
    words = {1.0: "within noise", 2.0: "weak", 3.0: "fair", math.inf: "strong"}
    limit, word = next(pair for pair in words.items() if z < pair[0])
    return f"{word} ({min(round(z, 1), limit - 0.1):.1f} sd)"  # 1.98 is not yet 2


def ambiguous(claims: Iterable[tuple[str, Claim]]) -> set[str]:
    """Return the words that several suites claim; each claim comes with the name of its suite."""
    made = Counter(words for _, words in {(suite, claim.text) for suite, claim in claims})
    return {words for words, suites in made.items() if suites > 1}


def claim_sentence(claim: JudgedClaim) -> str:
    """Return a claim's verdict, its numbers and the cautions about them in one sentence."""
    verdict, effect = sentence(CLAIMS[claim.verdict].text), claim.effect_pp
    if effect is None:
        why = "; ".join(_cautions(claim)) if claim.has_runs else ""  # no seed has run in all cells
        return f"{verdict}{f': {why}' if why else ''}."
    way = "as claimed" if effect > 0 else "the other way"
    size = f"{_size(claim, effect)} {way}" if effect else "no difference"
    if claim.claim.margin_pp is not None:
        size = f"difference {effect:+.2f} pp, margin {claim.claim.margin_pp:g} pp"
        if claim.claim.metric in SIGNAL_METRICS:
            size = f"ratio {amount(claim, effect)}, margin ×{factor(claim.claim.margin_pp)}"
    published = amount(claim, claim.published_pp) if claim.at_published_setting else ""
    p, adjusted = map(p_value, deciding_p(claim))
    pairs, images = claim.superiority, p_value(_images_p(claim))
    numbers = (
        size,
        f"step {claim.step}" if claim.step else "",
        f"95% interval {amounts(claim, claim.interval)}" if claim.interval else "",
        f"paired by seed {amounts(claim, claim.paired_interval)}" if claim.paired_interval else "",
        f"published {published}" if published else "",
        f"{count(claim.look or claim.n, 'seed')} per arm",
        "" if pairs is None else f"{pairs:.0%} of pairs of runs in the claimed order",
        f"{_is(p)} ({adjusted} adjusted for looks and claims)" if p else "",
        f"{_is(images)} if test images also count as drawn by chance" if images else "",
    )
    return f"{verdict}: {'; '.join([', '.join(filter(None, numbers)), *_cautions(claim)])}."


def lost_runs(claim: JudgedClaim) -> str:
    """Return how many of the runs that an effect is of diverged; nothing where none did."""
    runs = sum(claim.diverged.values())
    return f"{count(runs, 'run')} diverged, counted as guessing" if runs else ""


def deciding_p(claim: JudgedClaim) -> tuple[float | None, float | None]:
    """Return the p that the verdict rests on, alone and adjusted: for, against, or smaller."""
    if claim.verdict == "smaller":
        return claim.p_smaller, claim.p_smaller_adjusted
    if _is_against(claim):
        return claim.p_against, claim.p_against_adjusted
    return claim.p, claim.p_adjusted


def _is_against(claim: JudgedClaim) -> bool:
    """Whether the p to show is that against the claim: where nothing is decided, the smaller."""
    if claim.verdict in ("undecided", "not_learnt"):
        return claim.claim.margin_pp is None and (claim.effect_pp or 0.0) < 0
    return claim.verdict in ("contradicted", "reversed_here", "leans_against")


def _images_p(claim: JudgedClaim) -> float | None:
    """Return p for other test images too, in the direction of the p that the verdict rests on."""
    if claim.p_images is None or claim.verdict == "smaller":
        return None
    if not _is_against(claim):
        return claim.p_images
    # against a chain is what is against one of its steps; the largest p for is that of one step
    steps = len(claim.cells) - 1 if claim.step else 1
    return min(1.0, steps * (1 - claim.p_images))


def _cautions(claim: JudgedClaim) -> Iterator[str]:
    """Yield what keeps a claim from being decided, or bears on how it was."""
    for cell, runs in claim.diverged.items():
        yield f"{count(runs, 'run')} of {cell} diverged and counted as guessing"
    for cell, runs in claim.diverged_later.items():
        yield f"{count(runs, 'run')} of {cell} diverged after this look, so that nothing is decided"
    if claim.uneven and claim.look:
        decides = "ranks decide" if claim.p is not None else "this claim cannot be tested"
        far = [cell for cell in claim.uneven if claim.diverged.get(cell) != claim.look]
        why = f"the runs of {listed(far)} spread too far" if far else "guessing has no spread"
        yield f"{why} for a t-test: {decides}"
    if claim.hidden_pp:
        does = f"explain {_size(claim, claim.hidden_pp)} of the effect"
        if claim.claim.margin_pp is not None:
            does = f"hide a difference of {_size(claim, claim.hidden_pp)}"
        elif claim.hidden_pp >= abs(claim.effect_pp or 0.0):
            does = "explain the whole effect"
        yield (
            "in a similar cell one seed's error was far from the others'; such seeds, not drawn "
            f"here, may {does}"
        )
    if claim.not_learnt:
        cells = listed(claim.not_learnt)
        yield f"{cells} had not finished learning; more training may reverse the order"
    # a size that was due after a run had diverged is missing for good
    sizes = claim.claim.metric in SIGNAL_METRICS
    if not claim.look:
        yield f"not all of the first 3 seeds have {'been measured' if sizes else 'run'}"
    if claim.verdict not in UNDECIDED:
        return
    if claim.waiting:
        lacking = listed(f"{cell} seed {seed}" for cell, seed in claim.waiting[:3])
        more = f" and {len(claim.waiting) - 3} more" if len(claim.waiting) > 3 else ""
        yield f"the next look {'lacks' if sizes else 'waits for'} {lacking}{more}"
    # how many seeds would decide by ranks, or over failures late or hidden, a t-test cannot tell
    untold = claim.uneven or claim.diverged_later or claim.hidden_pp or claim.not_learnt
    if (claim.seeds_needed or 0) > claim.look and not untold:
        published = claim.at_published_setting and claim.published_pp is not None
        true = f"the true difference is the {'published' if published else 'measured'} one"
        if claim.claim.margin_pp is not None:
            true = "there is no true difference"
        yield f"{claim.seeds_needed} seeds per arm would probably decide it, if {true}"


def _size(claim: JudgedClaim, effect: float) -> str:
    """Return an effect without its sign: points, or the factor between two sizes."""
    if claim.claim.metric in SIGNAL_METRICS:
        return f"a factor of {factor(abs(effect))}"
    return f"{abs(effect):.2f} pp"


def value_sentence(value: JudgedValue) -> str:
    """Return the verdict on a value in one sentence."""
    lost = f"{value.diverged} of {count(value.diverged + len(value.values), 'run')} diverged"
    match value.outcome:
        case "skipped":
            return f"Not trained: {value.reasons[0]}."
        case "not_run":
            return "Not run."
        case "diverged":
            return f"No result: {lost}."
        case "not_comparable":
            return f"Not comparable: {'; '.join(value.reasons)}."
        case "equal" | "differs":
            same = "as" if value.verdict == "equal" else "not the"
            return f"Built: {_built(value)}, {same} published {value.number}."
        case "shown" if not value.is_error:
            return f"Built: {_built(value)}." if _built(value) else "Not judged."
        case "shown":
            return "The source publishes no number here."
    if value.diverged:
        return f"Undecided: {lost}; the other runs do not show the whole outcome."
    if not value.look or value.interval is None:
        return "Undecided: not all of the first 3 seeds have run."
    return _comparison(value, value.interval)


def _comparison(value: JudgedValue, interval: tuple[float, float]) -> str:
    """Return what enough runs show about a published error."""
    runs = value.published.median_of if value.published else None
    certain = (
        f"is the median of {runs} runs" if runs else "counts as one run: no source states more"
    )
    within = f", within {MARGIN_PP:g} pp" if value.verdict == "replicated" else ""
    low, high = (min(max(end, 0.0), 100.0) for end in interval)  # t knows no ends of a percentage
    said = (
        f"{sentence(value.verdict)}{within} at {value.look} seeds: measured minus published is "
        f"{signed(value.difference)} pp. With 95 % probability {more_runs(runs)} would lie between "
        f"{low:.2f} and {high:.2f}. The published number {certain}."
    )
    if value.verdict == "replicated" and value.p_differs is not None and value.p_differs <= ALPHA:
        way = "higher" if (value.difference or 0) > 0 else "lower"
        said += f" The measured error is nevertheless shown to be {way}."
    if later := len(value.values) - value.look:
        said += f" Not counted: {count(later, 'run')} after this look."
    return said


def more_runs(median_of: int | None) -> str:
    """Return what would have to lie in the interval of a published error."""
    return f"the median of {median_of} more runs" if median_of else "one more run"


def _built(value: JudgedValue) -> str:
    if value.metric == "params_m" and value.mean is not None:
        return f"{round(value.mean * 1e6):,} parameters"
    return value.built or ""


def notes_of(value: JudgedValue) -> list[str]:
    """Return what a reader has to know about a value: what is published, and what it really is."""
    notes = [value_sentence(value)] if value.verdict == "skipped" else []
    published = value.published
    if published is None:
        return notes
    claimed, really = published.claims, published.really or published.claims
    kind, label = SPLITS[really] if really else "", METRICS[value.metric].label
    alike = kind == label
    if really and really != claimed:
        said = f"as {SPLITS[claimed]}" if claimed else "without naming a split"
        kinds = f", like the measured one: {label}" if alike else f": {kind}. Measured: {label}"
        notes.append(f"Published {said}; really{kinds}.")
    elif really and really != "test":
        both = f"and measured: {label}" if alike else f"as {kind}. Measured: {label}"
        notes.append(f"Published {both}.")
    notes += [f"Median of {published.median_of} runs."] if published.median_of else []
    notes += [published.note] if published.note else []
    notes += [f"Published in {published.place.rstrip('.')}."] if published.place else []
    return notes


def measured(value: JudgedValue) -> str:
    """Return what was measured: mean, spread and number of runs, or what was built."""
    if value.verdict == "skipped":
        return "-"
    spreads = value.is_error or value.metric in {*SIGNAL_METRICS, "train_time_min"}
    if not spreads:
        return value.built or percent(value.mean, 3)
    shown = of_runs(value.mean, value.sd, len(value.values), value.planned, value.diverged)
    return shown or ("not run" if value.verdict == "not_run" else "not measured")


def mark(value: JudgedValue) -> str:
    """Return the sign of a value's verdict."""
    return VALUES[value.verdict][0] if value.verdict in VALUES else ""


def percent(value: float | None, digits: int = 2) -> str:
    """Return a number with a fixed number of decimals; nothing for None."""
    return "" if value is None else f"{value:.{digits}f}"


def of_runs(mean: float | None, sd: float | None, n: int, planned: int, diverged: int) -> str:
    """Return ``5.61 ± 0.12 (3), 1 diverged``; ``(2/3)`` where runs are missing, no sd of one."""
    spread = "" if sd is None or math.isnan(sd) else f" ± {sd:.2f}"
    runs = str(n) if n == planned else f"{n}/{planned}"
    shown = [] if mean is None else [f"{mean:.2f}{spread} ({runs})"]
    return ", ".join([*shown, f"{diverged} diverged"] if diverged else shown)


def of_seeds(numbers: Iterable[int], what: str = "mean ± sd") -> str:
    """Return ``mean ± sd of 3 seeds``; one seed has no standard deviation."""
    low, high = min(numbers := list(numbers)), max(numbers)
    if high == 1:
        return "1 seed"
    return f"{what} of {high if low == high else f'{low} to {high}'} seeds"


def signed(value: float | None) -> str:
    """Return a difference with its sign; nothing where it is unknown."""
    return "" if value is None or math.isnan(value) else f"{value:+.2f}"


def amount(claim: JudgedClaim, value: float | None) -> str:
    """Return an effect: points with their sign, or the factor between two sizes."""
    if claim.claim.metric not in SIGNAL_METRICS or value is None:
        return signed(value)
    return f"×{factor(value)}"


def factor(log10: float) -> str:
    """Return a power of ten in three digits: ``0.872``, ``12.3``, ``2,140``."""
    rounded = float(f"{10**log10:.3g}")
    return f"{rounded:,.0f}" if rounded >= 1000 else f"{rounded:.3g}"


def amounts(claim: JudgedClaim, interval: tuple[float, float] | None) -> str:
    """Return an interval of a claim's effect; nothing where it is unknown."""
    return " to ".join(amount(claim, limit) for limit in interval or ())


def p_value(value: float | None) -> str:
    """Return a p-value with two significant digits, never as ALPHA where it is larger."""
    if value is None:
        return ""
    if value > ALPHA:
        value = max(value, ALPHA + 0.001)
    return f"{value:.2g}" if value >= 1e-4 else "<0.0001"


def _is(p: str) -> str:
    return f"p {p}" if p.startswith("<") else f"p = {p}"


def sentence(text: str) -> str:
    """Return text with a capital first letter."""
    return text[:1].upper() + text[1:]
