"""How long runs will take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from resbench.analysis.declared import declared
from resbench.data.digits import read_digits
from resbench.data.images import stratified_indices
from resbench.datasets import DATA_SETS
from resbench.errors import UsageError
from resbench.machine import cpu_name
from resbench.runner.devices import Device
from resbench.runner.throughput import Speed, Throughput, expected
from resbench.store.layout import open_for_writing
from resbench.store.records import RunRecord
from resbench.suite.load import load_suite, suite_names

from ..factory import altered, complete, unfinished
from ..mini import REPORT, spec_of
from ..suite.test_own_networks import TOY, expanded, toy_suite

SPEC = spec_of()
CPU, GPU = Device("cpu", cpu_name()), Device("cuda:0", "NVIDIA H100")


def record_of(folder: Path, started: str, images_per_s: float, device: str) -> RunRecord:
    """A record of a run of the mini suite."""
    open_for_writing(folder / "results")
    record = complete(unfinished(folder / "results"))
    timing = {"started": started, "images_per_s": images_per_s, "train_s": 10.0, "eval_s": 2.0}
    record = altered(record, environment={"device_name": device}, timing=timing)
    return replace(record, spec=SPEC.canonical())


def test_time_left_is_images_over_speed_plus_evaluation() -> None:
    throughput = Throughput()
    throughput.learn(SPEC, CPU, Speed(32.0, 0.25), 4)
    assert throughput.epoch_seconds(SPEC, CPU) == pytest.approx(64 / 32 * 1.25)
    assert throughput.seconds(SPEC, CPU) == pytest.approx(4 * 2.5)
    assert throughput.seconds(SPEC, CPU, done_epochs=3) == pytest.approx(2.5)
    assert throughput.seconds(SPEC, CPU, done_epochs=9) == 0


def test_what_a_speed_depends_on_is_measured_and_all_else_is_expected() -> None:
    throughput = Throughput()
    throughput.learn(SPEC, CPU, Speed(32.0, 0.25), 4)
    same = spec_of(seed=5, data__clean_ratio=0.7, training__optim__lr=1.0)
    assert throughput.is_measured(same, CPU)
    assert throughput.seconds(same, CPU) == throughput.seconds(SPEC, CPU)
    assert not throughput.is_measured(SPEC, GPU)
    others: list[dict[str, Any]] = [
        {"model__width": 0.25}, {"training__batch_size": 8}, {"data__image_px": 16},
        {"engine": "graph"}, {"precision": "bf16"},
    ]  # fmt: skip
    for changes in others:
        assert not throughput.is_measured(spec_of(**changes), CPU)
        assert throughput.seconds(spec_of(**changes), CPU) > 0


def test_a_run_on_few_images_does_not_make_its_share_of_testing_that_of_a_full_one() -> None:
    throughput = Throughput()
    trial, full = spec_of(data__train_images=32), spec_of(data__train_images=320)
    throughput.learn(trial, CPU, Speed(32.0, 0.5), 2)
    assert throughput.is_measured(full, CPU)
    assert throughput.speed(trial, CPU).eval_share == pytest.approx(0.5)
    assert throughput.speed(full, CPU).eval_share == pytest.approx(0.05)
    assert throughput.epoch_seconds(full, CPU) == pytest.approx(320 / 32 * 1.05)


def test_the_newest_record_of_a_device_wins(tmp_path: Path) -> None:
    old = record_of(tmp_path / "old", "2026-01-01T00:00:00+00:00", 100.0, cpu_name())
    new = record_of(tmp_path / "new", "2026-02-01T00:00:00+00:00", 50.0, cpu_name())
    other = record_of(tmp_path / "other", "2026-03-01T00:00:00+00:00", 9000.0, "another CPU")
    later = {"started": "2026-04-01T00:00:00+00:00", "images_per_s": 200.0, "packed": 4}
    packed = altered(new, timing=later)
    for records in ([old, new, other, packed], [packed, other, new, old]):
        found = Throughput.of(records)
        assert found.speed(SPEC, CPU) == Speed(50.0, 0.2)
        assert found.speed(SPEC, Device("cpu", "another CPU")) == Speed(9000.0, 0.2)
    of_another_version = replace(old, spec={"model": "unheard of"})
    assert Throughput.of([of_another_version]).measured == {}


@pytest.mark.parametrize(
    "changes",
    [{"spec": spec_of(training__batch_size=4096).canonical()},  # more than there are images
     {"images_per_s": 1e-310}, {"images_per_s": 1e308}, {"train_s": 1e-310}, {"eval_s": 1e308}],
)  # fmt: skip
def test_a_record_that_cannot_be_true_is_no_measure(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    record = record_of(tmp_path, "2026-11-02T00:00:00+00:00", 64.0, CPU.label)
    if "spec" in changes:
        record = replace(record, **changes)
    else:
        record = replace(record, timing=replace(record.timing, **changes))
    assert Throughput.of([record]).measured == {}


def test_a_run_shorter_than_an_epoch_is_no_measure() -> None:
    throughput = Throughput()
    throughput.learn(SPEC, CPU, Speed(3.0, 5.0), 3)
    assert (throughput.measured, throughput.corrections) == ({}, {})


def test_native_images_of_two_data_sets_are_two_kinds() -> None:
    throughput = Throughput()
    throughput.learn(spec_of(data__image_px=None), CPU, Speed(32.0, 0.25), 4)
    assert throughput.is_measured(spec_of(data__image_px=16), CPU), "those of digits have 16 px"
    assert not throughput.is_measured(spec_of(data__image_px=None, data__name="cifar10"), CPU)


def test_a_record_of_a_user_s_network_measures_its_kind_and_corrects_no_other(
    tmp_path: Path,
) -> None:
    (tmp_path / "networks.py").write_text(TOY)
    spec = expanded(tmp_path, toy_suite()).cell("wide").at_seed(1)
    record = record_of(tmp_path, "2026-01-01T00:00:00+00:00", 100.0, cpu_name())
    found = Throughput.of([replace(record, spec=spec.canonical())])
    assert found.speed(spec, CPU) == Speed(100.0, 0.2)
    assert found.speed(SPEC, CPU) == Throughput().speed(SPEC, CPU)


def test_every_run_of_every_suite_has_a_time_where_nothing_was_measured() -> None:
    specs = [
        cell.at_seed(1)
        for name in suite_names()
        for cell in declared(load_suite(name)).cells
        if cell.spec is not None
    ]
    assert len(specs) > 50
    for spec in specs:
        on_cpu = Throughput().seconds(spec, CPU)
        on_gpu = Throughput().seconds(replace(spec, engine="graph", precision="bf16"), GPU)
        assert 0 < on_cpu < 400 * 86_400
        assert on_gpu < on_cpu or spec.data.name == "digits"


@pytest.mark.parametrize(
    ("px", "width", "images_per_s"), [(32, 1.0, 69), (16, 1.0, 275), (16, 0.5, 500)]
)
def test_what_is_expected_of_a_cpu_is_what_was_measured_to_a_factor_of_two(
    px: int, width: float, images_per_s: float
) -> None:
    """Attention-56 at batch 64, one thread of a server; docs/speed.md has the first."""
    spec = spec_of(
        model__width=width, data__name="cifar10", data__image_px=px, data__train_images=None,
        data__test_images=None, training__batch_size=64,
    )  # fmt: skip
    assert 0.5 < expected(spec, CPU).images_per_s / images_per_s < 2


def test_more_work_is_expected_to_take_longer() -> None:
    def per_s(**changes: object) -> float:
        return expected(spec_of(**changes), CPU).images_per_s

    assert per_s() > per_s(model__name="attention-92") > per_s(model__name="attention-452")
    assert per_s() > per_s(data__image_px=16)
    assert per_s(model__width=0.25) > per_s(model__width=1.0)
    assert per_s(**REPORT) > 0, "a variant that nobody counted is near another"


def test_multiplications_grow_with_the_squares_of_width_and_side() -> None:
    def per_s(**changes: object) -> float:  # in batches so large that a GPU does nothing else
        return expected(spec_of(**changes, training__batch_size=10**7), GPU).images_per_s

    large = per_s(model__width=1.0, data__image_px=16)
    assert per_s(model__width=0.5, data__image_px=16) / large == pytest.approx(4, rel=0.01)
    assert per_s(model__width=1.0, data__image_px=8) / large == pytest.approx(4, rel=0.01)


def test_an_image_tested_is_expected_to_take_a_third_of_one_trained_on() -> None:
    assert expected(SPEC, CPU).eval_share == pytest.approx(50 / 64 / 3)
    checked = spec_of(training__val_in_train=14)
    assert expected(checked, CPU).eval_share == pytest.approx((50 + 14) / 64 / 3)


def test_what_was_measured_corrects_what_is_expected_of_the_same_device() -> None:
    throughput, wider = Throughput(), spec_of(model__width=0.5)
    before = throughput.speed(wider, CPU).images_per_s
    slow = expected(SPEC, CPU).images_per_s / 3
    throughput.learn(SPEC, CPU, Speed(slow, 0.1), 4)
    assert throughput.speed(wider, CPU).images_per_s == pytest.approx(before / 3)
    for spec, device in ((wider, GPU), (replace(wider, engine="graph"), CPU)):
        assert throughput.speed(spec, device) == Throughput().speed(spec, device)
    for px, odd in ((16, False), (4, True)):  # the middle one of three counts
        other = spec_of(data__image_px=px)
        found = slow if odd else expected(other, CPU).images_per_s / 3
        throughput.learn(other, CPU, Speed(50 * found if odd else found, 0.1), 4)
    assert throughput.speed(wider, CPU).images_per_s == pytest.approx(before / 3)


def test_sizes_are_known_before_the_data_is_loaded() -> None:
    digits, known = read_digits(), DATA_SETS["digits"]
    sizes = (len(digits.train_labels), len(digits.test_labels))
    assert (known.train_images, known.test_images) == sizes
    splits = zip((digits.train_labels, digits.test_labels), known.balanced, strict=True)
    for labels, most in splits:
        assert len(stratified_indices(labels, most, 1)) == most
        with pytest.raises(UsageError, match=f"Take at most {most}"):
            stratified_indices(labels, most + 10, 1)
    assert spec_of(data__train_images=None).data.train_size == len(digits.train_labels)
    assert spec_of(data__train_images=None, data__first=100).data.train_size == 100
    assert spec_of(data__train_images=64, data__first=100).data.train_size == 64
