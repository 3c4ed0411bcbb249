from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from resbench.stats.multiplicity import holm

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


@given(pvalues, st.integers(0, 12))
def test_unknown_p_values_are_left_out_of_the_family(ps: list[float], place: int) -> None:
    place = min(place, len(ps))
    ours = holm([*ps[:place], None, *ps[place:], math.nan])
    assert (ours[place], ours[-1]) == (None, None)
    assert ours[:place] + ours[place + 1 : -1] == holm(ps)


def test_holm_of_nothing_is_nothing() -> None:
    assert holm([]) == ()
    assert holm([None]) == (None,)
