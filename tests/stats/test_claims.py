from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from resbench.stats.claims import ClaimVerdict, finalise
from resbench.stats.contrasts import ArmResult
from resbench.stats.paired import mcnemar
from resbench.stats.power import seeds_for_contrast
from tests.stats.judging import judged

ARL = (5.31, 5.62, 5.48, 5.55, 5.20)
NAL = (5.95, 5.70, 5.99, 5.81, 5.90)


def arm(cell: str, *errors: float, first_seed: int = 0) -> ArmResult:
    return ArmResult(cell, tuple(range(first_seed, first_seed + len(errors))), errors)


def predictions(rates: Sequence[float], seed: int, images: int = 10_000) -> NDArray[np.bool_]:
    """[seeds, images]: each run errs on a random `rate` percent of the images."""
    rng = np.random.default_rng(seed)
    correct = np.ones((len(rates), images), bool)
    for row, rate in zip(correct, rates, strict=True):
        row[rng.permutation(images)[: round(rate * images / 100)]] = False
    return correct


def arm_with_predictions(cell: str, rates: Sequence[float], seed: int) -> ArmResult:
    return ArmResult(cell, tuple(range(len(rates))), tuple(rates), predictions(rates, seed=seed))


def raw_p(verdict: ClaimVerdict) -> float:
    assert verdict.raw_p is not None
    return verdict.raw_p


def test_a_clear_order_is_confirmed_by_the_paired_t_test_over_seeds() -> None:
    verdict = judged("<", [arm("arl", *ARL), arm("nal", *NAL)], printed_difference=0.37)
    expected = stats.ttest_rel(NAL, ARL, alternative="greater").pvalue
    assert verdict.kind == "confirmed"
    assert verdict.raw_p == pytest.approx(expected)
    assert verdict.adjusted_p is None
    assert verdict.effect_pp == pytest.approx(np.mean(NAL) - np.mean(ARL))
    assert verdict.n == 5
    assert verdict.interval.level == pytest.approx(0.9)
    assert "5 paired seeds per arm" in verdict.text
    assert "printed +0.37 inside" in verdict.text


def test_arms_without_common_seeds_are_compared_by_welch() -> None:
    arms = [arm("arl", *ARL), arm("nal", *NAL[:3], first_seed=10)]
    verdict = judged("<", arms)
    reference = stats.ttest_ind(NAL[:3], ARL, equal_var=False, alternative="greater")
    assert verdict.raw_p == pytest.approx(reference.pvalue)
    assert "3 independent seeds per arm" in verdict.text


def test_greater_is_less_with_the_arms_swapped() -> None:
    one = judged("<", [arm("a", *ARL), arm("b", *NAL)])
    two = judged(">", [arm("b", *NAL), arm("a", *ARL)])
    assert (one.kind, one.raw_p, one.effect_pp) == (two.kind, two.raw_p, two.effect_pp)


def test_the_opposite_of_a_clear_order_is_contradicted() -> None:
    verdict = judged(">", [arm("a", *ARL), arm("b", *NAL)])
    assert verdict.kind == "contradicted"
    assert "0.44 pp the other way" in verdict.text


def test_an_interval_below_the_printed_difference_is_not_confirmed() -> None:
    arms = [arm("a", 5.50, 5.60, 5.55), arm("b", 5.52, 5.57, 5.60)]
    assert judged("<", arms, printed_difference=0.94).kind == "not_confirmed"
    assert judged("<", arms, printed_difference=0.05).kind == "inconclusive"
    assert judged("<", arms).kind == "inconclusive"


def test_the_same_sign_in_every_seed_without_significance_is_direction_only() -> None:
    agree = [arm("a", 5.5, 5.6, 5.7), arm("b", 5.6, 6.4, 5.8)]
    verdict = judged("<", agree, printed_difference=0.37)
    assert raw_p(verdict) > 0.05
    assert verdict.kind == "direction_only"
    assert "not established" in verdict.text
    one_against = [arm("a", 5.5, 5.6, 5.7), arm("b", 5.4, 6.4, 5.8)]
    assert judged("<", one_against, printed_difference=0.37).kind == "inconclusive"


def test_seeds_needed_is_for_the_printed_difference_at_the_measured_spread() -> None:
    arms = [arm("a", 5.5, 5.6, 5.7), arm("b", 5.4, 6.4, 5.8)]
    verdict = judged("<", arms, printed_difference=0.37)
    sd = np.std([-0.1, 0.8, 0.1], ddof=1)
    exact = TTestPower().solve_power(0.37 / sd, None, 0.05, 0.8, alternative="larger")
    assert verdict.seeds_needed == math.ceil(exact)
    assert f"about {math.ceil(exact)} seeds" in verdict.text


def test_two_seeds_decide_nothing_however_clear() -> None:
    arms = [arm("a", 5.00, 5.01), arm("b", 9.00, 9.02)]
    for operator in ("<", ">"):
        verdict = judged(operator, arms, printed_difference=50.0)
        assert verdict.kind in ("direction_only", "inconclusive")
        assert finalise([verdict.evidence])[0].adjusted_p is None
    assert judged("<", arms).kind == "direction_only"
    assert "fewer than 3 seeds decide nothing" in judged("<", arms).text


def test_one_seed_shows_a_direction_only_through_mcnemar() -> None:
    a, b = arm_with_predictions("a", (5.0,), 1), arm_with_predictions("b", (6.5,), 2)
    assert a.correct is not None
    assert b.correct is not None
    by_images = mcnemar(a.correct[0], b.correct[0])
    verdict = judged("<", [a, b], planning_sd=0.2, printed_difference=0.37)
    assert (verdict.kind, verdict.raw_p, verdict.n) == ("direction_only", None, 1)
    assert verdict.evidence.images_p == pytest.approx(by_images.p_mid / 2)
    assert verdict.seeds_needed == 6
    assert judged(">", [a, b]).kind == "inconclusive"
    near = arm_with_predictions("b", (5.1,), 2)
    assert judged("<", [a, near]).kind == "inconclusive"
    assert judged("<", [arm("a", 5.0), arm("b", 6.5)]).kind == "inconclusive"


def test_predictions_say_whether_the_order_holds_for_other_images() -> None:
    a = arm_with_predictions("a", (5.0, 5.1, 4.9), 1)
    clear = judged("<", [a, arm_with_predictions("b", (7.0, 7.1, 7.2), 2)])
    unclear = judged("<", [a, arm_with_predictions("b", (5.0, 5.2, 5.0), 2)])
    assert clear.evidence.images_p is not None
    assert unclear.evidence.images_p is not None
    assert clear.evidence.images_p < 0.05 < unclear.evidence.images_p
    assert "for other test images" in clear.text


def test_identical_differences_are_inconclusive_or_floored_never_certain() -> None:
    bare = judged("<", [arm("a", 5.0, 5.0, 5.0), arm("b", 5.1, 5.1, 5.1)])
    assert (bare.raw_p, bare.kind) == (None, "direction_only")
    kept = [arm_with_predictions("a", (5.0,) * 3, 1), arm_with_predictions("b", (5.1,) * 3, 2)]
    verdict = judged("<", kept)
    assert raw_p(verdict) > 0.05
    assert "binomial noise of 10000 test images" in verdict.text


def test_equivalence_is_tost_with_the_declared_margin() -> None:
    close = [arm("a", 5.50, 5.60, 5.55, 5.52), arm("b", 5.52, 5.57, 5.60, 5.49)]
    verdict = judged("~", close, margin=0.2)
    a, b = np.array(close[0].errors), np.array(close[1].errors)
    assert verdict.raw_p == pytest.approx(ttost_paired(b, a, -0.2, 0.2)[0])
    assert verdict.kind == "confirmed"
    assert "margin 0.2 pp" in verdict.text
    far = [arm("a", *ARL), arm("b", *(e + 3 + 0.1 * i for i, e in enumerate(ARL)))]
    assert judged("~", far, margin=0.2).kind == "contradicted"


def test_equivalence_not_shown_is_not_confirmed_when_equality_is_ruled_out() -> None:
    apart = [arm("a", 5.5, 5.6, 5.5), arm("b", 5.70, 5.75, 5.72)]
    assert judged("~", apart, margin=0.2).kind == "not_confirmed"
    wide = [arm("a", 5.0, 5.6, 5.9), arm("b", 5.70, 5.3, 5.72)]
    verdict = judged("~", wide, margin=0.2)
    assert verdict.kind == "inconclusive"
    assert judged("~", wide[:1] + wide[:1], margin=0.2).kind == "inconclusive"


def test_a_monotone_claim_stands_or_falls_with_its_weakest_step() -> None:
    a56, a92 = arm("56", 5.52, 5.48, 5.55), arm("92", 4.99, 5.02, 4.95)
    a128 = arm("128", 4.44, 4.93, 4.80)
    verdict = judged("monotone_decreasing", [a56, a92, a128])
    steps = [
        stats.ttest_rel(x.errors, y.errors, alternative="greater").pvalue
        for x, y in ((a56, a92), (a92, a128))
    ]
    assert verdict.raw_p == pytest.approx(max(steps))
    assert min(steps) < 0.05 < max(steps)
    assert verdict.kind == "direction_only"
    assert "weakest step 92 > 128" in verdict.text
    assert verdict.effect_pp == pytest.approx(4.98667 - 4.72333, abs=1e-4)


def test_a_step_of_a_chain_is_set_beside_the_same_printed_step() -> None:
    arms = [arm("56", 5.52, 5.48, 5.55), arm("92", 4.99, 5.02, 4.95), arm("128", 4.44, 4.93, 4.80)]
    judge = partial(judged, "monotone_decreasing", arms)
    assert judge(printed_difference=(0.1, 0.7)).evidence.printed_difference == 0.7
    assert judge(printed_difference=0.1).evidence.printed_difference == 0.1
    with pytest.raises(ValueError, match="3 printed differences for 2 steps"):
        judge(printed_difference=(0.1, 0.7, 0.2))


def test_the_seeds_that_decide_are_those_for_every_step_where_holm_asks_most() -> None:
    one, two, three = arm("a", 5.9), arm("b", 5.5), arm("c", 5.1)
    judge = partial(judged, printed_difference=0.4, planning_sd=0.2)
    alone, of_four = judge(">", [one, two]), judge(">", [one, two], claims=4)
    chain = judge("monotone_decreasing", [one, two, three], claims=4)
    sd = 0.2 * math.sqrt(2)
    assert alone.seeds_needed == seeds_for_contrast(0.4, sd, 1, alpha=0.05, power=0.8)
    assert of_four.seeds_needed == seeds_for_contrast(0.4, sd, 1, alpha=0.0125, power=0.8)
    assert chain.seeds_needed == seeds_for_contrast(0.4, sd, 1, alpha=0.0125, power=0.9)


def test_the_seeds_that_show_equality_are_those_for_both_of_its_tests() -> None:
    equal = judged("~", [arm("a", 5.5), arm("b", 5.5)], margin=0.4, planning_sd=0.2, claims=4)
    sd = 0.2 * math.sqrt(2)
    assert equal.seeds_needed == seeds_for_contrast(0.4, sd, 1, alpha=0.0125, power=0.9)
    assert equal.seeds_needed != seeds_for_contrast(0.4, sd, 1, alpha=0.0125, power=0.8)


def test_one_reversed_step_contradicts_a_monotone_claim() -> None:
    a, b = arm("a", 5.52, 5.48, 5.55), arm("b", 4.99, 5.02, 4.95)
    c = arm("c", 6.0, 6.01, 5.97)
    assert judged("monotone_decreasing", [a, b, c]).kind == "contradicted"
    rising = judged("monotone_increasing", [b, a, c])
    assert rising.kind == "confirmed"
    assert rising.evidence.opposite_p == 1


def test_a_monotone_claim_with_one_thin_arm_decides_nothing() -> None:
    a, b = arm("a", 5.52, 5.48, 5.55), arm("b", 4.99, 5.02, 4.95)
    verdict = judged("monotone_decreasing", [a, b, arm("c", 3.0)])
    assert (verdict.n, verdict.raw_p) == (1, None)
    assert verdict.kind == "inconclusive"


def test_gap_growth_is_the_linear_trend_of_the_gaps_per_seed() -> None:
    arl = [arm(f"arl{d}", *e) for d, e in ((56, (5.5, 5.6, 5.4)), (92, (5.0, 5.1, 4.9)))]
    nal = [arm(f"nal{d}", *e) for d, e in ((56, (5.8, 5.8, 5.8)), (92, (5.6, 5.8, 5.5)))]
    third = (arm("arl128", 4.5, 4.5, 4.4), arm("nal128", 5.5, 5.8, 5.6))
    pairs = [*zip(arl, nal, strict=True), third]
    verdict = judged("gap_grows", pairs, printed_difference=0.2)
    gaps = np.array([np.subtract(b.errors, a.errors) for a, b in pairs])
    growth = np.polyfit([0, 1, 2], gaps, 1)[0] * 2
    assert verdict.effect_pp == pytest.approx(growth.mean())
    assert verdict.raw_p == pytest.approx(
        stats.ttest_1samp(growth, 0, alternative="greater").pvalue
    )
    shrinking = judged("gap_grows", pairs[::-1])
    assert shrinking.effect_pp == pytest.approx(-verdict.effect_pp)
    assert shrinking.raw_p == pytest.approx(1 - raw_p(verdict))


def test_a_claim_with_an_empty_cell_is_not_run_and_names_it() -> None:
    verdict = judged("<", [arm("a", *ARL), arm("table1/nal")])
    assert (verdict.kind, verdict.raw_p, verdict.n) == ("not_run", None, 0)
    assert verdict.text == "Not run: no results for table1/nal."


def test_an_error_that_is_not_finite_is_inconclusive_and_said() -> None:
    verdict = judged("<", [arm("a", 5.0, math.nan, 5.1), arm("b", 6.0, 6.1, 6.2)])
    assert (verdict.kind, verdict.raw_p) == ("inconclusive", None)
    assert "not finite" in verdict.text
    assert "nan" not in verdict.text


@pytest.mark.parametrize(
    ("operator", "arms", "margin", "message"),
    [
        ("<=", [arm("a", 1), arm("b", 2)], None, "allowed are <, >, ~"),
        ("<", [arm("a", 1)], None, "two or more"),
        ("<", [arm("a", 1), arm("b", 1), arm("c", 1)], None, "two arms, not 3"),
        ("<", [arm("a", 1), arm("b", 2)], 0.2, "'~' takes one"),
        ("~", [arm("a", 1), arm("b", 2)], None, "'~' takes one"),
        ("~", [arm("a", 1), arm("b", 2)], -0.2, "not positive"),
        ("gap_grows", [arm("a", 1), arm("b", 2)], None, "pairs"),
        ("monotone_decreasing", [(arm("a", 1), arm("b", 2))] * 2, None, "not pairs"),
    ],
)
def test_a_claim_that_cannot_be_put_is_refused(
    operator: Any, arms: Any, margin: float | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        judged(operator, arms, margin=margin)


def test_finalise_judges_by_holm_and_keeps_the_raw_p() -> None:
    clear = judged("<", [arm("a", *ARL), arm("b", *NAL)])
    weak = judged("<", [arm("a", 5.5, 5.6, 5.7), arm("b", 5.6, 5.9, 5.9)])
    lost = judged("<", [arm("a", 5.5, 5.6, 5.7), arm("b", 5.4, 6.4, 5.8)])
    thin = judged("<", [arm("a", 5.0, 5.1), arm("b", 6.0, 6.3)])
    empty = judged("<", [arm("a"), arm("b", 6.0)])
    assert (clear.kind, weak.kind) == ("confirmed", "confirmed")
    final = finalise([v.evidence for v in (weak, thin, clear, empty, lost)])
    assert [v.kind for v in final] == [
        "direction_only",
        "direction_only",
        "confirmed",
        "not_run",
        "inconclusive",
    ]
    assert final[2].adjusted_p == pytest.approx(3 * raw_p(clear))
    assert final[0].adjusted_p == pytest.approx(2 * raw_p(weak))
    assert [v.adjusted_p for v in (final[1], final[3])] == [None, None]
    assert [v.raw_p for v in final] == [v.raw_p for v in (weak, thin, clear, empty, lost)]
    assert "(Holm 0.0" in final[2].text


def test_finalise_corrects_contradictions_too() -> None:
    against = judged(">", [arm("a", 5.5, 5.6, 5.7), arm("b", 5.6, 5.9, 5.9)])
    others = [judged("<", [arm("a", 5.5, 5.6, 5.7), arm("b", 5.4, 6.4, 5.8)])] * 3
    assert against.kind == "contradicted"
    assert finalise([v.evidence for v in (against, *others)])[0].kind == "inconclusive"


errors = st.lists(st.floats(1, 99).map(lambda x: round(x, 2)), min_size=1, max_size=5)


@given(errors, errors, st.one_of(st.none(), st.floats(0, 5)))
def test_swapping_arms_swaps_confirmed_and_contradicted(
    a: Sequence[float], b: Sequence[float], printed: float | None
) -> None:
    arms = [arm("a", *a), arm("b", *b)]
    one = judged("<", arms, printed_difference=printed).kind
    two = judged("<", arms[::-1], printed_difference=printed).kind
    assert (one == "confirmed") == (two == "contradicted")


@given(errors, errors)
def test_confirmed_means_three_seeds_and_an_interval_above_zero(
    a: Sequence[float], b: Sequence[float]
) -> None:
    verdict = judged("<", [arm("a", *a), arm("b", *b, first_seed=3)])
    if verdict.kind == "confirmed":
        assert verdict.n >= 3
        assert verdict.interval.low >= 0
    elif verdict.n >= 3 and verdict.raw_p is not None:
        assert verdict.interval.low <= 1e-9


def test_importing_the_statistics_loads_neither_scipy_nor_torch() -> None:
    code = "import resbench.stats.claims, resbench.stats.verdicts, sys; print(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    modules = set(loaded.stdout.split())
    assert "resbench.stats.claims" in modules
    assert not modules & {"scipy", "torch", "mlflow", "pandas", "statsmodels"}


def test_a_printed_size_decides_nothing_in_another_setting_than_its_own() -> None:
    arms = [arm("a", 30.0, 30.2, 30.1), arm("b", 30.1, 30.2, 30.3)]
    near = judged("<", arms, printed_difference=5.0)
    far = judged("<", arms, printed_difference=5.0, comparable=False)
    assert (near.kind, far.kind) == ("not_confirmed", "inconclusive")
    assert "printed +5 outside" in near.text
    assert "printed" not in far.text
    assert far.evidence.printed_difference == 5.0  # still set beside ours
    sized = judged("<", arms, printed_difference=0.01, comparable=False)
    assert sized.seeds_needed == far.seeds_needed
