"""Schedules in optimizer steps: drops, warm-up, epochs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resbench.errors import UsageError
from resbench.suite.schedule import Steps, resolve

from ..mini import spec_of


def steps_of(train_images: int = 64, **schedule: Any) -> Steps:
    changes = {f"training__schedule__{name}": value for name, value in schedule.items()}
    return resolve(spec_of(**changes), train_images)


def test_the_learning_rate_warms_up_until_its_step_and_drops_at_the_exact_ones() -> None:
    drops = [{"at": 64_000, "factor": 0.1}, {"at": 96_000, "factor": 0.1}]
    warmup = {"until": 400, "lr": 0.01}
    steps = steps_of(50_000, unit="step", total=160_000, drops=drops, warmup=warmup)
    rates = {0: 0.01, 399: 0.01, 400: 0.05, 63_999: 0.05, 64_000: 0.005, 95_999: 0.005,
             96_000: 0.0005, 159_999: 0.0005}  # fmt: skip
    assert [steps.lr(step) for step in rates] == pytest.approx([*rates.values()], rel=1e-12)


def test_epochs_count_full_batches() -> None:
    steps = steps_of(50_000, unit="step", total=160_000, drops=[])
    assert (steps.per_epoch, steps.epochs) == (50_000 // 16, 52)
    half = steps_of(64, unit="epoch", total=1.5, drops=[{"at": 0.5, "factor": 0.1}])
    assert (half.total, half.epochs, half.in_epoch(2)) == (6, 2, range(4, 6))
    assert [half.lr(step) for step in range(6)] == pytest.approx([0.05] * 2 + [0.005] * 4)


def test_a_part_of_an_epoch_is_the_nearest_number_of_steps() -> None:
    drops, warmup = [{"at": 0.29, "factor": 0.1}], {"until": 0.07, "lr": 0.01}
    steps = steps_of(1600, unit="epoch", total=0.57, drops=drops, warmup=warmup)
    assert (steps.per_epoch * 0.57, steps.per_epoch * 0.29) < (57, 29)  # in floating point
    assert steps.total == 57
    assert [at for at, _ in steps.changes] == [0, 7, 29]
    assert steps_of(1600, unit="epoch", total=0.001, drops=[]).total == 1  # the least there is


def test_a_batch_larger_than_the_training_set_is_refused_with_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"batch_size 16 .* 15 images\. Lower"):
        steps_of(15)


@given(
    images=st.integers(16, 5_000),
    total=st.integers(1, 3_000),
    shares=st.lists(st.floats(0, 1), max_size=4),
)
def test_epochs_are_the_schedule_without_gaps_and_rates_never_rise(
    images: int, total: int, shares: list[float]
) -> None:
    at = sorted({max(1, round(share * total)) for share in shares})
    drops = [{"at": step, "factor": 0.5} for step in at]
    steps = steps_of(images, unit="step", total=total, drops=drops)
    epochs = [steps.in_epoch(epoch) for epoch in range(1, steps.epochs + 1)]
    assert [step for epoch in epochs for step in epoch] == list(range(total))
    assert all(epochs)
    assert {len(epoch) for epoch in epochs[:-1]} <= {steps.per_epoch}
    rates = [steps.lr(step) for step in range(total)]
    fallen = [step for step in range(1, total) if rates[step] != rates[step - 1]]
    assert fallen == [step for step in at if step < total]
    assert rates == sorted(rates, reverse=True)
