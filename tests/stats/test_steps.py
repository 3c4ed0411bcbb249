from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from resbench.stats.steps import steps_of, trend_weights


@pytest.mark.parametrize(
    ("operator", "terms", "weights"),
    [
        ("<", "ab", [(-1, 1)]),
        (">", "ab", [(1, -1)]),
        ("monotone_increasing", "abc", [(-1, 1), (-1, 1)]),
        ("monotone_decreasing", "abc", [(1, -1), (1, -1)]),
    ],
)
def test_every_step_is_positive_as_claimed(operator: Any, terms: str, weights: list[Any]) -> None:
    steps = steps_of(operator, [(t,) for t in terms])
    assert [step.weights for step in steps] == weights
    assert [step.arms for step in steps] == list(itertools.pairwise(terms))


def test_a_growing_gap_is_the_rise_of_its_fitted_line() -> None:
    gaps = [0.4, 1.1, 2.9]
    (step,) = steps_of("gap_grows", [("a", "b"), ("c", "d"), ("e", "f")])
    errors = {"a": 5.0, "b": 5.4, "c": 5.0, "d": 6.1, "e": 5.0, "f": 7.9}
    rise = sum(w * errors[a] for w, a in zip(step.weights, step.arms, strict=True))
    assert rise == pytest.approx(2 * np.polyfit(range(3), gaps, 1)[0])
    assert trend_weights(2) == (-1, 1)


@pytest.mark.parametrize(
    ("operator", "terms"),
    [
        ("=", [("a",), ("b",)]),
        ("<", [("a",)]),
        ("<", [("a",), ("b",), ("c",)]),
        ("gap_grows", [("a",), ("b",)]),
        ("<", [("a", "b"), ("c", "d")]),
    ],
)
def test_what_cannot_be_compared_is_refused(operator: Any, terms: list[Any]) -> None:
    with pytest.raises(ValueError, match="operator"):
        steps_of(operator, terms)
