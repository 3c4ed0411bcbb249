from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from resbench.stats.multiplicity import LOOKS, holm, times_looks

pvalues = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(pvalues)
@settings(max_examples=25)  # the reference takes 0.1 s a call
def test_holm_equals_statsmodels(ps: list[float]) -> None:
    expected = multipletests(ps, method="holm")[1]
    assert list(holm(ps)) == pytest.approx(list(expected))


def test_holm_gives_the_textbook_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


@given(pvalues, st.floats(0, 1), st.floats(0, 1))
def test_holm_is_monotone_in_each_p_value_and_never_below_it(
    ps: list[float], one: float, two: float
) -> None:
    low, high = sorted((one, two))
    smaller, larger = (np.array(holm([*ps, p]), dtype=float) for p in (low, high))
    assert (smaller <= larger).all()
    assert ([*ps, low] <= smaller).all()
    assert (smaller <= 1).all()


def test_a_claim_without_a_p_value_counts_in_the_family() -> None:
    first, *rest = holm([0.01, None, None])
    assert first == pytest.approx(0.03)
    assert rest == [None, None]
    assert holm([None]) == (None,)
    assert holm([]) == ()


def test_a_look_costs_as_much_as_there_are_looks() -> None:
    assert times_looks(0.01) == pytest.approx(0.01 * len(LOOKS))
    assert times_looks(0.5) == 1
    assert times_looks(None) is None
