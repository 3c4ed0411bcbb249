"""How long runs will take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from resbench.data.catalog import BALANCED, SIZES, train_images
from resbench.data.digits import read_digits
from resbench.data.subset import stratified_indices
from resbench.errors import UsageError
from resbench.runner.throughput import Throughput, kind_of
from resbench.store.layout import ResultsFolder
from resbench.store.records import RunRecord

from ..mini import spec_of
from ..store.factory import begin, finish

SPEC = spec_of()


def record_of(folder: Path, started: str, images_per_s: float, device: str = "a CPU") -> RunRecord:
    """A record of a run of the mini suite."""
    ResultsFolder(folder / "results").open_for_writing()
    record = finish(begin(folder / "results"))
    where = replace(record.environment, device_name=device)
    timing = replace(
        record.timing, started=started, images_per_s=images_per_s, train_s=10.0, eval_s=2.0
    )
    return replace(record, spec=SPEC.canonical(), environment=where, timing=timing)


def test_time_left_is_images_over_speed_plus_evaluation() -> None:
    throughput = Throughput()
    throughput.learn(SPEC, "a CPU", train_per_s=32.0, eval_per_s=100.0)
    assert throughput.epoch_seconds(SPEC, "a CPU") == pytest.approx(64 / 32 + 50 / 100)
    assert throughput.seconds(SPEC, "a CPU") == pytest.approx(4 * 2.5)
    assert throughput.seconds(SPEC, "a CPU", done_epochs=3) == pytest.approx(2.5)
    assert throughput.seconds(SPEC, "a CPU", done_epochs=9) == 0


def test_an_unmeasured_kind_has_no_time() -> None:
    throughput = Throughput()
    throughput.learn(SPEC, "a CPU", 32.0, 100.0)
    assert throughput.seconds(SPEC, "NVIDIA H100") is None
    for changes in ({"model__width": 0.25}, {"training__batch_size": 8}, {"data__image_px": 16}):
        assert throughput.seconds(spec_of(**changes), "a CPU") is None
    same = spec_of(seed=5, data__clean_ratio=0.7, training__optim__lr=1.0)
    assert throughput.seconds(same, "a CPU") == throughput.seconds(SPEC, "a CPU")


def test_the_newest_record_of_a_device_wins(tmp_path: Path) -> None:
    old = record_of(tmp_path / "old", "2026-01-01T00:00:00+00:00", 100.0)
    new = record_of(tmp_path / "new", "2026-02-01T00:00:00+00:00", 50.0)
    gpu = record_of(tmp_path / "gpu", "2026-03-01T00:00:00+00:00", 9000.0, "H100")
    for records in ([old, new, gpu], [gpu, new, old]):
        rates = Throughput.measured(records).rates
        assert rates == {kind_of(SPEC, "a CPU"): (50.0, 0.2), kind_of(SPEC, "H100"): (9000.0, 0.2)}


def test_a_record_of_another_version_is_no_measure(tmp_path: Path) -> None:
    record = record_of(tmp_path, "2026-01-01T00:00:00+00:00", 100.0)
    strange = replace(record, spec={"model": "unheard of"})
    assert Throughput.measured([strange]).rates == {}


def test_measurements_are_kept_for_the_next_plan(tmp_path: Path) -> None:
    throughput = Throughput()
    throughput.learn(SPEC, "a CPU", 32.0, 100.0)
    throughput.save()
    assert Throughput.measured([]).rates == throughput.rates


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', '{"a": ["x", 1]}', "\udcff"])
def test_a_damaged_cache_is_no_cache(tmp_path: Path, content: str) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "throughput.json").write_text(content, errors="surrogateescape")
    assert Throughput.measured([]).rates == {}


def test_a_cache_that_cannot_be_written_costs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RESBENCH_CACHE_DIR", str(tmp_path / "file" / "cache"))
    Throughput({"kind": (1.0, 0.0)}).save()
    assert Throughput.measured([]).rates == {}


def test_sizes_are_known_before_the_data_is_loaded() -> None:
    digits = read_digits()
    assert SIZES["digits"] == (len(digits.train_labels), len(digits.test_labels))
    splits = zip((digits.train_labels, digits.test_labels), BALANCED["digits"], strict=True)
    for labels, most in splits:
        assert len(stratified_indices(labels, most, 1)) == most
        with pytest.raises(UsageError, match=f"At most {most} can be had"):
            stratified_indices(labels, most + 10, 1)
    assert train_images(spec_of(data__train_images=None).data) == len(digits.train_labels)
    assert train_images(spec_of(data__train_images=None, data__first=100).data) == 100
    assert train_images(spec_of(data__train_images=64, data__first=100).data) == 64


def test_a_kind_is_readable_and_round_trips_through_the_cache() -> None:
    kind = kind_of(SPEC, "a CPU")
    assert kind.startswith("a CPU eager fp32 ")
    assert json.loads(json.dumps({kind: 1})) == {kind: 1}
