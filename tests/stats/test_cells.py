from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from resbench.stats.cells import CellVerdict, judge_cell, median_variance
from resbench.suite.schema import half_width
from tests.stats.arms import SMALL, USUAL, arm

NEAR = (5.41, 5.62, 5.50)
SEEDS = tuple(range(1, 9))


def judge(published: str | None, *errors: float, reference: float = USUAL) -> CellVerdict:
    return judge_cell(arm("a", *errors, chance=reference, at=5.5), SEEDS, published)


def half(found: CellVerdict) -> float:
    """Half of the width of the interval."""
    return (found.interval[1] - found.interval[0]) / 2


@pytest.mark.parametrize(
    ("published", "half_unit"), [("5.52", 0.005), ("5.40", 0.005), ("5.4", 0.05), ("28", 0.5)]
)
def test_the_published_precision_is_read_from_the_text(published: str, half_unit: float) -> None:
    assert half_width(published) == pytest.approx(half_unit)


@pytest.mark.parametrize(
    ("published", "errors", "kind"),
    [
        ("5.52", NEAR, "replicated"),
        ("5.90", NEAR, "replicated"),
        ("6.80", NEAR, "better"),
        ("4.20", NEAR, "worse"),
        ("5.52", (5.0, 5.5, 6.0), "undecided"),  # too far apart to agree or to differ
        ("5.52", (5.5, 5.5), "undecided"),
        ("5.52", (*NEAR, 50.0), "replicated"),  # four are judged as three
        ("5.5", (), "not_run"),
        (None, NEAR, "undecided"),
    ],
)
def test_a_published_number_is_replicated_better_or_worse(
    published: str | None, errors: tuple[float, ...], kind: str
) -> None:
    found = judge(published, *errors)
    assert (found.kind, found.look) == (kind, 3 if len(errors) > 2 else 0)
    difference = sum(NEAR) / 3 - float(published or "nan")
    if errors[:3] == NEAR:
        assert found.difference == pytest.approx(difference, nan_ok=True)
        assert math.isfinite(half(found))


def test_a_run_that_diverges_after_the_look_leaves_a_published_number_undecided() -> None:
    whole = arm("a", 5.0, 5.1, 4.9, 90.0, diverged=[4])
    assert judge_cell(whole.only([1, 2, 3]), SEEDS, "5.00").kind == "replicated"
    found = judge_cell(whole, SEEDS, "5.00")
    assert (found.kind, found.look) == ("undecided", 3)
    assert math.isinf(half(found))


def test_without_a_prior_the_interval_is_that_for_one_new_run_of_hahn_and_meeker() -> None:
    # 1991, section 3.2: mean 50.10, s 1.31; their factor for one future unit at n = 5 is 3.04.
    found = judge(None, 50.3, 48.3, 49.6, 50.4, 51.9, reference=SMALL)
    assert half(found) / 1.31 == pytest.approx(3.04, abs=0.01)


def test_replicated_is_two_one_sided_tests_for_every_look() -> None:
    found = judge("5.52", *NEAR, reference=SMALL)
    se = arm("a", *NEAR).variance ** 0.5 * math.sqrt(1 + 1 / 3)
    expected = stats.t.sf((1 - 0.005 - 0.01) / se, 2)
    assert found.p_within == pytest.approx(3 * expected, rel=1e-3)


def test_a_difference_is_two_sided_for_every_look_and_beyond_the_published_rounding() -> None:
    se = arm("a", *NEAR).variance ** 0.5 * math.sqrt(1 + 1 / 3)
    fine, coarse = (judge(text, *NEAR, reference=SMALL) for text in ("4.80", "4.8"))
    for found, rounding in ((fine, 0.005), (coarse, 0.05)):
        expected = 2 * stats.t.sf((0.71 - rounding) / se, 2)
        assert found.p_differs == pytest.approx(3 * expected, rel=1e-3)
    assert half(coarse) - half(fine) == pytest.approx(0.045)


def test_a_number_within_the_margin_is_replicated_though_a_difference_is_shown() -> None:
    found = judge("5.20", 5.50, 5.51, 5.52, reference=SMALL)
    assert (found.p_differs or 1) < 0.05
    assert found.kind == "replicated"


def test_later_runs_of_other_cells_change_no_number_of_a_look() -> None:
    others = [arm("b", 5.0, 5.4, 5.8, *later) for later in ((), (5.41, 5.42))]
    one, two = (judge_cell(arm("a", *NEAR), SEEDS, "5.52", [other]) for other in others)
    assert one == two


def test_an_arm_with_a_diverged_run_or_a_missing_seed_neither_agrees_nor_differs() -> None:
    diverged = judge_cell(arm("a", 5.5, 5.6, 90.0, diverged=[3]), SEEDS, "5.5")
    assert (diverged.kind, diverged.look) == ("undecided", 3)
    missing = judge_cell(arm("a", *NEAR), (1, 9, 2, 3), "5.52")
    assert (missing.kind, missing.look) == ("undecided", 0)


def test_the_published_numbers_own_runs_make_it_more_certain() -> None:
    assert median_variance(5) == pytest.approx(math.pi / 10)
    assert median_variance(1) == 1
    one = judge_cell(arm("a", *NEAR), SEEDS, "5.0")
    five = judge_cell(arm("a", *NEAR), SEEDS, "5.0", median_of=5)
    assert half(five) < half(one)
    assert (five.p_differs or 1) < (one.p_differs or 0)


@given(st.lists(st.floats(1, 99), min_size=3, max_size=8), st.floats(1, 99))
def test_replicated_means_within_a_point_and_better_mirrors_worse(
    errors: list[float], published: float
) -> None:
    text = f"{published:.2f}"
    found = judge(text, *errors)
    if found.kind == "replicated":
        assert abs(found.difference) < 1.0
    mirrored = judge(f"{100 - float(text):.2f}", *[100 - e for e in errors])
    swapped = {"better": "worse", "worse": "better"}
    assert mirrored.kind == swapped.get(found.kind, found.kind)
