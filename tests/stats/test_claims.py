from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from resbench.stats.claims import ClaimVerdict
from resbench.stats.multiplicity import seeds_in_order
from resbench.stats.spread import Arm
from tests.stats.arms import SMALL, arm, judged, predicted

ARL = (5.31, 5.62, 5.48)
NAL = (6.95, 6.70, 6.99)
CLOSE = (5.45, 5.70, 5.60)
SEEDS = (1, 2, 3, 4, 5)


def mirror(kind: str) -> str:
    pairs = {"confirmed": "contradicted", "leans_for": "leans_against"}
    return {**pairs, **{b: a for a, b in pairs.items()}}.get(kind, kind)


def test_a_clear_order_is_confirmed_by_a_test_that_does_not_pair() -> None:
    verdict = judged("<", [arm("arl", *ARL, chance=SMALL), arm("nal", *NAL, chance=SMALL)])
    expected = stats.ttest_ind(NAL, ARL, equal_var=False, alternative="greater").pvalue
    assert (verdict.verdict, verdict.look, verdict.n) == ("confirmed", 3, 3)
    assert verdict.p == pytest.approx(expected, rel=1e-3)
    assert verdict.p_adjusted == pytest.approx(3 * expected, rel=1e-3)
    assert verdict.effect_pp == pytest.approx(np.mean(NAL) - np.mean(ARL))
    assert verdict.superiority == 1
    shuffled = judged("<", [arm("arl", *ARL, chance=SMALL), arm("nal", *NAL[::-1], chance=SMALL)])
    assert shuffled.p == pytest.approx(verdict.p)


errors = st.lists(st.floats(1, 20).map(lambda x: round(x, 2)), min_size=1, max_size=8)
lost = st.sets(st.integers(1, 3))


@given(errors, errors, lost, lost)
@settings(max_examples=60)
def test_the_same_evidence_for_and_against_a_claim_gets_mirrored_verdicts(
    a: list[float], b: list[float], lost_a: set[int], lost_b: set[int]
) -> None:
    def made(name: str, values: list[float], gone: set[int]) -> Arm:
        numbers = [90.0 if i in gone else v for i, v in enumerate(values, 1)]
        return arm(name, *numbers, diverged=sorted(gone & set(range(1, len(values) + 1))))

    arms = [made("a", a, lost_a), made("b", b, lost_b)]
    one, two = judged("<", arms), judged("<", arms[::-1])
    assert two.verdict == mirror(one.verdict)
    assert two.effect_pp == pytest.approx(-(one.effect_pp or 0))


@pytest.mark.parametrize(
    ("shift", "kind"),
    [(0.1, "undecided"), (0.3, "leans_for"), (-0.3, "leans_against"), (1.5, "confirmed"),
     (-1.5, "contradicted")],
)  # fmt: skip
def test_evidence_below_the_price_of_looks_leans(shift: float, kind: str) -> None:
    verdict = judged("<", [arm("a", 5.0, 5.1, 5.2), arm("b", *(e + shift for e in (5, 5.1, 5.2)))])
    assert verdict.verdict == kind


def test_a_family_of_declared_claims_asks_more_though_none_of_them_was_run() -> None:
    arms = [arm("a", 5.0, 5.2, 5.4), arm("b", 5.6, 5.8, 6.0)]
    alone, one_of = judged("<", arms), judged("<", arms, family=12)
    assert (alone.verdict, one_of.verdict) == ("confirmed", "leans_for")
    assert alone.p == one_of.p
    assert one_of.p_adjusted == pytest.approx(12 * 3 * (one_of.p or 0))


def test_a_difference_below_the_smallest_of_interest_is_never_confirmed() -> None:
    tight = np.linspace(-0.01, 0.01, 8)
    for effect, kind in ((0.04, "leans_for"), (0.2, "confirmed"), (-0.04, "leans_against")):
        arms = [arm("a", *(5 + tight), chance=SMALL), arm("b", *(5 + effect + tight), chance=SMALL)]
        assert judged("<", arms).verdict == kind


@pytest.mark.parametrize("error", [5.0, 5.5])  # 5.6 - 5.5 is 0.09999999999999964
def test_the_smallest_difference_of_interest_is_enough(error: float) -> None:
    arms = [arm(name, *[e] * 8, chance=SMALL) for name, e in (("a", error), ("b", error + 0.1))]
    assert judged("<", arms).verdict == "confirmed"
    assert judged("<", arms[::-1]).verdict == "contradicted"


# ---------------------------------------------------------------------------------------- looks


def test_a_look_stays_what_it_was_while_other_arms_go_on() -> None:
    arms = [arm("a", 5.0, 5.1, 5.2), arm("b", 5.5, 5.6, 5.9)]
    early = {name: arm(name, 5.0, 5.4, 5.8) for name in "cd"}
    later = {name: arm(name, 5.0, 5.4, 5.8, 5.41, 5.42) for name in "cd"}
    one, two = judged("<", arms, others=early), judged("<", arms, others=later)
    assert (one.look, one.p, one.interval) == (two.look, two.p, two.interval)


def test_a_run_that_diverges_after_the_look_keeps_the_claim_from_being_decided() -> None:
    whole = [arm("a", *ARL, 90.0, diverged=[4]), arm("b", *NAL)]
    assert judged("<", [whole[0].only([1, 2, 3]), whole[1]]).verdict == "confirmed"
    found = judged("<", whole)
    assert (found.verdict, found.look, found.diverged_later) == ("leans_for", 3, {"a": 1})
    close = [arm("a", 5.0, 5.1, 5.2, 90.0, diverged=[4]), arm("b", 5.05, 5.15, 5.2)]
    assert judged("<", [close[0].only([1, 2, 3]), close[1]], published=[2.0]).verdict == "smaller"
    assert judged("<", close, published=[2.0]).verdict == "undecided"
    elsewhere = {"c": arm("c", 5.0, 5.1, 5.2, 90.0, diverged=[4])}
    found = judged("<", [whole[0].only([1, 2, 3]), whole[1]], others=elsewhere)
    assert (found.verdict, found.diverged_later) == ("confirmed", {})


def test_seeds_are_taken_in_the_order_that_was_declared() -> None:
    a, b = arm("a", 9.0, *ARL, 5.0), arm("b", 5.0, *NAL, 6.5)
    verdict = judged("<", [a, b], seeds=(2, 3, 4, 1, 5))
    assert verdict.look == 5
    assert judged("<", [a, b], seeds=(2, 3, 4)).effect_pp == pytest.approx(1.41, abs=0.01)


def test_after_the_declared_seeds_come_1_2_3_and_so_on_for_every_look() -> None:
    assert seeds_in_order((4, 2)) == (4, 2, 1, 3, 5, 6, 7, 8, 9, 10)


def test_a_missing_seed_keeps_the_verdict_at_the_look_before() -> None:
    whole, gap = arm("a", *ARL, 5.4, 5.5), arm("b", *NAL, 6.8, 6.9).only([1, 2, 3, 5])
    verdict = judged("<", [whole, gap])
    assert (verdict.look, verdict.verdict) == (3, "confirmed")
    assert verdict.waiting == (("b", 4),)
    first = judged("<", [whole, arm("b", *NAL, 6.8).only([1, 3, 4])])
    assert (first.look, first.verdict, first.p) == (0, "undecided", None)
    assert first.waiting == (("b", 2),)


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_than_three_seeds_decide_nothing_and_lean_nowhere(n: int) -> None:
    verdict = judged("<", [arm("a", *ARL[:n]), arm("b", *(50 + e for e in NAL[:n]))])
    assert (verdict.verdict, verdict.look, verdict.p) == ("undecided", 0, None)
    assert (verdict.effect_pp or 0) > 40
    assert verdict.interval is None


def test_before_a_look_the_seeds_that_all_arms_have_are_compared() -> None:
    """The mean of three runs against one may have the opposite sign."""
    a, b = arm("a", 35.0, 36.5, 36.7), arm("b", 35.5)
    found = judged("<", [a, b])
    assert (found.verdict, found.look, found.n) == ("undecided", 0, 1)
    assert found.effect_pp == pytest.approx(0.5)
    assert found.superiority == 1.0
    late = judged("<", [arm("a", 35.0, 90.0, diverged=[2]), b])
    assert late.effect_pp == pytest.approx(0.5)
    assert not late.diverged
    assert not late.diverged_later
    apart = judged("<", [a.only([1]), arm("b", 9.0, 35.5).only([2])])
    assert (apart.verdict, apart.n, apart.missing) == ("undecided", 0, ())
    assert (apart.effect_pp, apart.superiority) == (None, None)


def test_an_arm_without_a_run_is_named() -> None:
    verdict = judged("<", [arm("a", *ARL), Arm("b", (), ())])
    assert (verdict.verdict, verdict.missing) == ("not_run", ("b",))
    assert verdict.effect_pp is None


# ------------------------------------------------------------------------- diverged and uneven


def test_a_diverged_run_is_an_outcome_of_its_arm() -> None:
    steady = arm("a", 5.5, 5.6, 5.5, 5.4, 5.6)
    lost = arm("b", 5.4, 90.0, 5.3, 5.2, 90.0, diverged=[2, 5])
    verdict = judged("<", [lost, steady])
    assert verdict.diverged == {"b": 2}
    assert verdict.verdict not in ("confirmed", "leans_for")
    assert (verdict.effect_pp or 0) < -30


@pytest.mark.parametrize("steady", [5.5, 90.5])  # also worse than the 90 % of guessing
def test_an_arm_that_always_diverges_is_worse_than_any_that_ended(steady: float) -> None:
    arms = [arm("a", *(steady + i / 100 for i in range(5))), arm("b", *[90.0] * 5, diverged=SEEDS)]
    found = judged("<", arms)
    assert (found.verdict, found.uneven) == ("confirmed" if steady < 90 else "leans_for", ("b",))
    assert found.superiority == 1
    assert found.p == pytest.approx(1 / 252)


def test_an_arm_with_a_diverged_run_says_nothing_of_how_far_others_spread() -> None:
    arms = [arm("a", *ARL), arm("b", *NAL)]
    lost = {"c": arm("c", 5.0, 5.1, 90.0, diverged=[3])}
    assert judged("<", arms, others=lost).p == judged("<", arms).p


def test_three_seeds_with_a_failing_one_confirm_nothing() -> None:
    verdict = judged("<", [arm("a", *ARL), arm("b", 7.0, 7.1, 30.0)])
    assert (verdict.verdict, verdict.p, verdict.uneven) == ("leans_for", 1 / 20, ("b",))


def test_a_seed_that_failed_in_a_like_arm_asks_more_of_the_effect() -> None:
    arms = [arm("56/arl", *ARL), arm("56/nal", *NAL)]
    even = {f"{i}/nal": arm(f"{i}/nal", 7.0, 7.1, 7.2) for i in (128, 164)}
    failed = {**even, "92/arl": arm("92/arl", 5.0, 5.1, 8.05)}
    capped = judged("<", arms, others=failed)
    assert (judged("<", arms).verdict, capped.verdict) == ("confirmed", "leans_for")
    assert capped.hidden_pp == pytest.approx(3 * 0.632, abs=0.01)
    assert (capped.p_adjusted or 1) < 0.05  # the p-values stay
    assert judged("<", arms[::-1], others=failed).verdict == "leans_against"
    far = [arms[0], arm("56/nal", *(e + 2 for e in NAL))]
    assert judged("<", far, others=failed).verdict == "confirmed"  # more than failures could undo
    for more, kind in ((0.05, "leans_for"), (0.15, "confirmed")):  # 0.1 pp must be left of it
        near = [arms[0], arm("56/nal", *(e + capped.hidden_pp + more for e in ARL))]
        assert judged("<", near, others=failed).verdict == kind
    elsewhere = {**even, "92/nal": arm("92/nal", 5.0, 5.1, 8.05)}
    assert judged("<", arms, others=elsewhere).verdict == "confirmed"


def test_suspected_failures_hold_back_smaller_than_published_too() -> None:
    arms = [arm("56/nal", *NAL), arm("56/arl", *ARL)]
    even = {f"{i}/nal": arm(f"{i}/nal", 7.0, 7.1, 7.2) for i in (128, 164)}
    failed = {**even, "92/arl": arm("92/arl", 5.0, 5.1, 8.05)}
    found = judged("<", arms, others=failed, published=[0.4])
    assert found.hidden_pp > 1
    assert found.verdict == "leans_against"


def test_a_chain_is_held_back_by_the_step_that_hides_most() -> None:
    """The first step's better arm has none of its kind; the second's has one that failed."""
    arms = [arm("56/arl", *ARL), arm("56/nal", *NAL), arm("92/nal", *(e + 1 for e in NAL))]
    assert judged("monotone_increasing", arms).verdict == "confirmed"
    even = {str(i): arm(str(i), 7.0, 7.1, 7.2) for i in (1, 2)}
    failed = {**even, "128/nal": arm("128/nal", 5.0, 5.1, 8.05)}
    found = judged("monotone_increasing", arms, others=failed)
    assert found.verdict == "leans_for"
    assert found.hidden_pp == pytest.approx(3 * 0.632, abs=0.01)


def test_an_uneven_arm_cannot_show_that_a_difference_is_smaller_than_published() -> None:
    found = judged("<", [arm("a", *ARL), arm("b", 5.5, 5.6, 8.0)], published=[30.0])
    assert (found.uneven, found.p_smaller) == (("b",), None)


def test_a_diverged_run_gives_no_interval_and_no_spread_of_published_numbers() -> None:
    found = judged("<", [arm("a", *ARL), arm("b", *NAL[:2], 90.0, diverged=[3])], published=[2.87])
    assert found.interval is None
    assert found.published_z == pytest.approx(2.87 / 0.28, abs=0.2)


# --------------------------------------------------------------------- paired, for information


def test_the_paired_interval_stands_beside_a_verdict_that_does_not_use_it() -> None:
    arms = [arm("arl", *ARL), arm("nal", *NAL)]
    verdict, paired = judged("<", arms), stats.ttest_rel(NAL, ARL).confidence_interval(0.95)
    assert verdict.paired_interval == pytest.approx(tuple(paired))
    shuffled = judged("<", [arms[0], arm("nal", *NAL[::-1])])
    assert shuffled.paired_interval != verdict.paired_interval
    assert shuffled.verdict == verdict.verdict
    assert shuffled.p == pytest.approx(verdict.p)
    lost = arm("nal", *NAL[:2], 90.0, diverged=[3])
    assert judged("<", [arms[0], lost]).paired_interval is None
    assert judged("<", [arm("a", 5.0, 5.1), arm("b", 6.0, 6.2)]).paired_interval is None


# --------------------------------------------------------------------------- published sizes


def test_a_published_difference_that_the_runs_exclude_is_smaller_than_published() -> None:
    arms = [arm("a", 5.0, 5.1, 5.2), arm("b", 5.05, 5.15, 5.2)]
    verdict = judged("<", arms, published=[2.0])
    assert (verdict.verdict, verdict.published_pp) == ("smaller", 2.0)
    assert judged("<", arms, published=[0.2]).verdict == "undecided"
    far = judged("<", arms, published=[2.0], at_published_setting=False)
    assert (far.verdict, far.p_smaller, far.published_pp) == ("undecided", None, 2.0)


@pytest.mark.parametrize("published", [0.0, -0.01])
def test_what_the_published_numbers_do_not_show_cannot_be_smaller(published: float) -> None:
    quiet = [arm("a", 5.05, 5.05, 5.05, chance=SMALL), arm("b", 5.0, 5.0, 5.0, chance=SMALL)]
    found = judged("<", quiet, published=[published])
    assert (found.verdict, found.p_smaller) == ("leans_against", None)


def test_a_published_difference_has_the_spread_of_the_two_runs_that_it_is_of() -> None:
    arms = [arm("a", *np.linspace(4.8, 5.2, 8)), arm("b", *np.linspace(4.85, 5.25, 8))]
    found = judged("<", arms, published=[0.3])
    assert found.effect_pp == pytest.approx(0.05)
    assert found.interval is not None
    assert found.interval[1] < 0.3  # beyond what our runs alone would allow
    assert found.verdict == "undecided"


def test_outside_the_published_setting_no_verdict_reads_like_a_replication() -> None:
    arms = [arm("a", *ARL), arm("b", *NAL)]
    assert judged("<", arms, published=[30.0]).verdict == "confirmed"  # though far from it
    assert judged("<", arms, at_published_setting=False).verdict == "holds_here"
    assert judged("<", arms[::-1], at_published_setting=False).verdict == "reversed_here"


def test_the_published_difference_is_measured_in_spreads_of_one_run() -> None:
    arms = [arm("a", *ARL), arm("b", *NAL)]
    usual = judged("<", arms, published=[0.37], at_published_setting=False)
    assert usual.published_z == pytest.approx(0.37 / (0.2 * math.sqrt(2)))
    own = judged("<", arms, published=[0.37])
    sd = math.hypot(*(np.std(errors, ddof=1) for errors in (ARL, NAL)))
    assert own.published_z == pytest.approx(0.37 / sd, rel=0.2)
    assert judged("<", arms).published_z is None
    pair = arms[0], arms[1]
    gaps = [pair, (arm("c", *ARL), arm("d", *CLOSE))]
    four = judged("gap_grows", gaps, published=[0.8], at_published_setting=False)
    assert four.published_z == pytest.approx(0.8 / (0.2 * 2))


# ------------------------------------------------------------------------------------- chains


def chain(*means: float, **more: Any) -> ClaimVerdict:
    arms = [arm(f"a{i}", m, m + 0.1, m + 0.2) for i, m in enumerate(means)]
    return judged("monotone_increasing", arms, **more)


def test_a_chain_holds_when_its_weakest_step_does() -> None:
    verdict = chain(5.0, 7.0, 8.0)
    first = {"a0": arm("a0", 5.0, 5.1, 5.2)}  # a reference of the other step
    alone = judged("<", [arm("a1", 7.0, 7.1, 7.2), arm("a2", 8.0, 8.1, 8.2)], others=first)
    assert (verdict.verdict, verdict.step) == ("confirmed", "a1 < a2")
    assert verdict.effect_pp == pytest.approx(1.0)
    assert verdict.p == alone.p
    assert verdict.p_against == 1.0
    single = [arm("a", 5.0), arm("b", 7.0), arm("c", 7.1)]
    assert judged("monotone_increasing", single).step == "b < c"  # also before a look
    fewer = [arm("a", *ARL, 5.4, 5.5), arm("b", *NAL, 6.8, 6.9), arm("c", 9.0, 9.1)]
    waits = judged("monotone_increasing", fewer)
    assert (waits.n, waits.look, waits.verdict) == (2, 0, "undecided")


def test_no_step_of_a_chain_may_be_smaller_than_what_a_single_claim_needs() -> None:
    quiet = [arm("a", *[5.0] * 5, chance=SMALL), arm("b", *[5.02] * 5, chance=SMALL)]
    noisy = arm("c", 6.0, 6.2, 6.4, 6.6, 6.8)
    assert judged("<", [quiet[1], noisy]).verdict == "confirmed"
    assert judged("<", quiet).verdict == "leans_for"
    found = judged("monotone_increasing", [*quiet, noisy])
    assert (found.verdict, found.step) == ("leans_for", "b < c")


def test_a_later_run_is_in_none_of_the_numbers_of_a_look() -> None:
    b = Arm("b", (1, 2, 3), (34.1, 34.3, 34.4), 1000)
    looks = [
        judged("<", [Arm("a", (1, 2, 3, 4)[:n], (32.0, 32.2, 31.8, last)[:n], 1000, lost), b])
        for n, last, lost in (
            (3, 0.0, frozenset[int]()),
            (4, 80.0, frozenset[int]()),
            (4, 10.0, frozenset[int]()),
            (4, 90.0, frozenset({4})),
        )
    ]
    assert len({(found.p, found.se_pp, found.effect_pp, found.interval) for found in looks}) == 1
    assert [found.look for found in looks] == [3] * 4


def test_one_reversed_step_contradicts_a_chain_at_the_price_of_its_steps() -> None:
    verdict = chain(5.0, 7.0, 5.0)
    assert (verdict.verdict, verdict.step) == ("contradicted", "a1 < a2")
    arms = [arm("a", 7, 7, 7), arm("b", 6, 6, 6), arm("c", 5, 5, 5)]
    falling = judged("monotone_decreasing", arms)
    assert (falling.verdict, falling.step) == ("confirmed", "a > b")
    first = {"a0": arm("a0", 5.0, 5.1, 5.2)}
    two = judged("<", [arm("a1", 7.0, 7.1, 7.2), arm("a2", 5.0, 5.1, 5.2)], others=first)
    assert verdict.p_against == 2 * (two.p_against or 0)


def test_a_step_that_is_shown_to_be_reversed_by_less_than_counts_contradicts_no_chain() -> None:
    """Whatever another step measures, which is not shown."""
    quiet = [arm("a", 5.05, 5.05, 5.05, chance=SMALL), arm("b", 5.0, 5.0, 5.0, chance=SMALL)]
    found = judged("monotone_increasing", [*quiet, arm("c", 2.0, 4.0, 6.0)])
    assert (found.verdict, found.step) == ("leans_against", "a < b")


def test_the_step_that_decides_a_chain_is_the_one_that_is_shown() -> None:
    found = chain(5.0, 5.05, 5.75, published=[0.02, 5.0])
    assert (found.verdict, found.step, found.published_pp) == ("smaller", "a1 < a2", 5.0)
    assert found.effect_pp == pytest.approx(0.7)
    level = chain(5.0, 5.05, 5.75, published=[0.0, 5.0])  # a step that cannot be smaller
    assert level.p_smaller == found.p_smaller, "counts among the steps"


def test_a_growing_gap_is_a_trend_over_its_levels() -> None:
    arms = [arm(f"a{i}", m, m + 0.1, m + 0.2) for i, m in enumerate((5, 5.5, 5, 6.5, 5, 7.5))]
    terms = list(zip(arms[::2], arms[1::2], strict=True))
    verdict = judged("gap_grows", terms)
    assert (verdict.verdict, verdict.superiority) == ("confirmed", None)
    assert verdict.effect_pp == pytest.approx(2.0)
    assert judged("gap_grows", terms[::-1]).verdict == "contradicted"


# -------------------------------------------------------------------------------- equivalence


def test_arms_are_alike_or_apart_by_two_one_sided_tests() -> None:
    arms = [arm("a", 5.0, 5.1, 5.2), arm("b", 5.05, 5.15, 5.2)]
    assert judged("~", arms, margin=1.0).verdict == "confirmed"
    assert judged("~", arms, margin=0.2).verdict == "undecided"
    assert judged("~", [arms[0], arm("b", *NAL)], margin=0.3).verdict == "contradicted"
    apart = [arm(name, e, e + 0.01, e + 0.02, chance=SMALL) for name, e in (("a", 5.0), ("b", 5.5))]
    assert judged("~", apart, margin=0.4).verdict == "contradicted"
    assert judged("~", apart, margin=0.5).verdict == "undecided"  # a difference, not a larger one
    lost = arm("b", 5.1, 5.0, 90.0, diverged=[3])
    assert judged("~", [arms[0], lost], margin=1.0).verdict == "undecided"
    uneven = judged("~", [arms[0], arm("b", 5.1, 5.0, 9.0)], margin=50.0)
    assert (uneven.verdict, uneven.p, uneven.uneven) == ("undecided", None, ("b",))


@pytest.mark.parametrize("like", ["x/arl", "z/nal"])
def test_arms_are_not_alike_while_failures_may_be_hidden_in_either(like: str) -> None:
    arms = [arm("y/arl", 5.0, 5.1, 5.2), arm("y/nal", 5.05, 5.15, 5.2)]
    steady = {f"{i}/other": arm(f"{i}/other", 5.0, 5.1, 5.2) for i in range(3)}
    assert judged("~", arms, margin=1.0, others=steady).verdict == "confirmed"
    failed = {**steady, like: arm(like, 5.0, 5.1, 8.05)}
    found = judged("~", arms, margin=1.0, others=failed)
    assert found.hidden_pp > 1
    assert found.verdict == "leans_for"
    apart = [arms[0], arm("y/nal", *NAL)]
    assert judged("~", apart, margin=0.3, others=steady).verdict == "contradicted"
    assert judged("~", apart, margin=0.3, others=failed).verdict == "leans_against"


# --------------------------------------------------------------------------- guard and images


def test_other_test_images_are_asked_about_where_predictions_are_kept() -> None:
    rng = np.random.default_rng(4)
    arms = [predicted("a", 5, rng), predicted("b", 9, rng)]
    verdict = judged("<", arms)
    assert (verdict.p or 1) <= (verdict.p_images or 0) < 0.01
    assert judged("<", [arms[0], replace(arms[1], kept={})]).p_images is None
    assert judged("~", arms, margin=1.0).p_images is None
    close = predicted("c", 9.1, rng)
    chain = judged("monotone_increasing", [*arms, close])
    assert chain.p_images == judged("<", [arms[1], close], others={"a": arms[0]}).p_images
    assert (chain.p_images or 0) > 0.05
    ranked = judged("<", [replace(arms[0], errors=(5.0, 5.1, 30.0)), arms[1]])
    assert (ranked.uneven, ranked.p_images) == (("a",), None)
    gaps = [(arms[0], arms[1]), (predicted("d", 5, rng), predicted("e", 15, rng))]
    assert judged("gap_grows", gaps).p_images is None


def test_whatever_networks_show_that_have_not_learnt_is_their_order_at_this_stage() -> None:
    for shift, kind in ((0.3, "leans_for"), (-0.3, "leans_against"), (1.5, "confirmed")):
        arms = [arm("a", 5.0, 5.1, 5.2), arm("b", *(e + shift for e in (5.0, 5.1, 5.2)))]
        assert judged("<", arms).verdict == kind
        assert judged("<", arms, not_learnt=["a"]).verdict == "not_learnt"
    assert judged("<", [arms[0], Arm("b", (), ())], not_learnt=["a"]).verdict == "not_run"
    even = [arm("a", 5.0, 5.1, 5.2), arm("b", 5.1, 5.0, 5.2)]
    assert judged("<", even, not_learnt=["a"]).verdict == "undecided"


def test_the_look_that_finds_the_published_difference_is_named() -> None:
    arms = [arm("a", *ARL), arm("b", *CLOSE)]
    assert judged("<", arms, published=[1.0]).seeds_needed == 3
    assert judged("<", arms, published=[0.37]).seeds_needed == 8
    assert judged("<", arms, published=[0.05]).seeds_needed is None
    assert judged("<", arms, published=[1.0], family=5).seeds_needed == 5
    for published in ([1.0, 0.05], [0.05, 1.0]):  # of a chain, what its smallest step needs
        assert chain(5.0, 5.4, 5.8, published=published).seeds_needed is None
    unknown = [arm("a", 5.0), arm("b", 6.0)]
    assert judged("<", unknown).seeds_needed is None
    assert judged("<", unknown, planning_sd=0.2).seeds_needed == 3
    assert judged("<", unknown, published=[0.75], planning_sd=0.2).seeds_needed == 3
    alike = judged("~", unknown, margin=0.75, planning_sd=0.2)
    assert alike.seeds_needed == 5  # both of its tests must reject
