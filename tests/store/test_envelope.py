from __future__ import annotations

import errno
import hashlib
import os
import pickle
from pathlib import Path

import pytest

from resbench.errors import EnvironmentFault
from resbench.store.envelope import load_checkpoint, open_sealed, save_checkpoint, seal
from resbench.store.layout import RunFolder

from ..factory import Hostile, loaded
from ..mini import raising

FIRST, SECOND = b"first " * 200, b"second " * 300


def names(run: RunFolder) -> list[str]:
    return sorted(path.name for path in run.path.iterdir())


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run with two generations of checkpoints."""
    run = RunFolder(tmp_path, "ab" * 32)
    run.create()
    save_checkpoint(run, FIRST)
    save_checkpoint(run, SECOND)
    return run


def test_sealing_keeps_any_payload_behind_magic_digest_and_length() -> None:
    for payload in (b"", b"payload", bytes(range(256))):
        sealed = seal(payload)
        digest, length = hashlib.sha256(payload).digest(), len(payload).to_bytes(8, "little")
        assert sealed == b"RSBCKPT1" + digest + length + payload
        assert open_sealed(sealed) == payload


def test_no_bit_flip_and_no_longer_file_is_accepted() -> None:
    sealed = seal(b"payload")
    flipped = (int.from_bytes(sealed) ^ 1 << bit for bit in range(8 * len(sealed)))
    for damaged in [*(number.to_bytes(len(sealed)) for number in flipped), sealed + b"\0"]:
        with pytest.raises(ValueError, match=r"does not begin|bytes where|sha256 does not fit"):
            open_sealed(damaged)


def test_newest_checkpoint_is_loaded_and_one_before_it_kept(run: RunFolder) -> None:
    assert loaded(run) == (SECOND, [])
    assert open_sealed(run.checkpoint_prev.read_bytes()) == FIRST
    assert names(run) == ["checkpoint.bin", "checkpoint.prev.bin"]


LENGTH = len(seal(SECOND))


@pytest.mark.parametrize("cut", [0, 1, 7, 8, 20, 40, 47, 48, LENGTH // 2, LENGTH - 1])
def test_cut_checkpoint_is_named_set_aside_and_the_previous_one_used(
    run: RunFolder, cut: int
) -> None:
    whole = run.checkpoint.read_bytes()
    run.checkpoint.write_bytes(whole[:cut])
    payload, (warning,) = loaded(run)
    assert payload == FIRST
    assert warning.startswith(f"{run.checkpoint}: ")
    assert warning.endswith("set aside as checkpoint.bin.corrupt.")
    assert run.path.joinpath("checkpoint.bin.corrupt").read_bytes() == whole[:cut]
    # Going on from there keeps the good one as the previous generation.
    save_checkpoint(run, b"third")
    assert open_sealed(run.checkpoint_prev.read_bytes()) == FIRST
    assert loaded(run) == (b"third", [])


def test_with_both_damaged_the_run_begins_anew_and_both_are_named(run: RunFolder) -> None:
    run.checkpoint.write_bytes(b"")
    run.checkpoint_prev.write_bytes(seal(FIRST)[:-1])
    payload, warnings = loaded(run)
    assert payload is None
    named = [warning.split(":")[0] for warning in warnings]
    assert named == [str(run.checkpoint), str(run.checkpoint_prev)]
    assert names(run) == ["checkpoint.bin.corrupt", "checkpoint.prev.bin.corrupt"]


def test_checkpoint_larger_than_any_other_file_is_read(run: RunFolder) -> None:
    os.truncate(run.checkpoint, 65 << 20)  # sparse; that of a network of 65 M weights has 0.8 GB
    payload, (warning,) = loaded(run)
    assert payload == FIRST
    assert f"holds {(65 << 20) - 48} bytes where {len(SECOND)} were written" in warning


def test_both_generations_are_dropped_when_the_run_is_recorded(run: RunFolder) -> None:
    for _ in range(2):
        run.drop_checkpoints()
        assert names(run) == []


def test_disk_that_is_full_when_synced_costs_neither_generation(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(os, "fsync", raising(full))
    with pytest.raises(EnvironmentFault, match=r"checkpoint\.bin: No space left on device"):
        save_checkpoint(run, b"third")
    assert open_sealed(run.checkpoint.read_bytes()) == SECOND
    assert open_sealed(run.checkpoint_prev.read_bytes()) == FIRST
    assert names(run) == ["checkpoint.bin", "checkpoint.prev.bin"]


def test_without_checkpoints_nothing_is_loaded(tmp_path: Path) -> None:
    assert loaded(RunFolder(tmp_path, "ab" * 32)) == (None, [])


def test_hostile_pickle_is_never_executed(run: RunFolder) -> None:
    marker = run.path / "executed"
    hostile = pickle.dumps(Hostile(marker))
    run.checkpoint.write_bytes(hostile)
    payload, (warning,) = loaded(run)
    assert payload == FIRST
    assert "does not begin as a checkpoint of resbench" in warning
    save_checkpoint(run, hostile)  # inside a valid envelope: handed on as bytes
    assert loaded(run) == (hostile, [])
    assert not marker.exists()
    pickle.loads(hostile)  # control: it would have acted
    assert marker.exists()


def test_a_payload_that_the_trainer_cannot_use_is_set_aside(run: RunFolder) -> None:
    def use(payload: bytes) -> None:
        if payload == SECOND:
            raise ValueError("of another network")

    (warning,) = load_checkpoint(run, use)
    assert warning.endswith(
        "checkpoint.bin: of another network; set aside as checkpoint.bin.corrupt."
    )
    assert loaded(run) == (FIRST, [])


def test_checkpoint_that_is_a_link_is_refused_and_left_alone(
    run: RunFolder, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(seal(b"another run's state"))
    run.checkpoint.unlink()
    run.checkpoint.symlink_to(outside)
    with pytest.raises(EnvironmentFault, match=r"checkpoint\.bin: .*Links are not followed"):
        loaded(run)
    assert run.checkpoint.is_symlink()
