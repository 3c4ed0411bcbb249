"""Both sides compute the same thing, take turns, and a comparison runs from end to end."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from resbench.data.digits import read_digits
from resbench.models import attention
from resbench.suite.spec import RunSpec
from resbench.train.prepare import prepare_images
from tools.speed import __main__ as speed
from tools.speed.comparisons import COMPARISONS, Bench, Comparison, Contender, starting
from tools.speed.ours import TINY, Ours, random_images, spec_of
from tools.speed.peer import Peer, PilImages

from ..mini import augment_of

CPU = torch.device("cpu")


@contextmanager
def restored() -> Iterator[None]:
    """Put torch's settings back that a benchmark's process sets for its whole life."""
    threads = torch.get_num_threads()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode("default")
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


def tiny_spec(lr: float = 0.1, **data: Any) -> RunSpec:
    """A narrow network on 8 px, with a learning rate at which it learns."""
    spec = spec_of(TINY, quick=True)
    optim = structs.replace(spec.training.optim, lr=lr)
    training = structs.replace(spec.training, optim=optim)
    changes = {"training": training, "data": structs.replace(spec.data, **data)}
    return structs.replace(spec, **changes)


@pytest.mark.slow
@pytest.mark.parametrize("flags", [False, True])
def test_the_peer_learns_the_digits(flags: bool) -> None:
    torch.manual_seed(1)
    random.seed(1)
    spec = tiny_spec(train_images=320, test_images=100)
    peer = Peer(spec, prepare_images(spec, read_digits()), CPU, flags=flags)

    with peer.settings():
        losses = [peer.train_epoch() for _ in range(10)]
        error = peer.test()

    assert losses[-1] < 0.6 * losses[0]
    assert error < 80


@pytest.mark.parametrize("flags", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_both_loops_see_the_same_number_of_images(flags: bool) -> None:
    spec = tiny_spec()
    ours = Ours(spec, CPU, 3)
    peer = Peer(spec, ours.lanes[0].images, CPU, flags=flags)
    seen = {"ours": 0, "peer": 0}
    for name, model in (("ours", ours.lanes[0].model), ("peer", peer.model)):

        def count(_: Any, inputs: tuple[torch.Tensor, ...], name: str = name) -> None:
            seen[name] += len(inputs[0])

        model.register_forward_pre_hook(count)

    ours.epoch()
    peer.train_epoch()
    assert seen == {"ours": ours.images, "peer": ours.images}

    ours.test()
    peer.test()
    assert seen == {"ours": 2 * ours.images, "peer": 2 * ours.images}


def test_both_networks_compute_the_same_from_the_same_weights() -> None:
    spec = tiny_spec()
    ours = Ours(spec, CPU, 1)
    peer = Peer(spec, ours.lanes[0].images, CPU)
    peer.model.load_state_dict(ours.lanes[0].model.state_dict())
    x_BCHW = torch.randn(4, 3, 8, 8)
    expected = ours.lanes[0].model(x_BCHW.contiguous(memory_format=torch.channels_last))

    with peer.settings():
        logits = peer.model(x_BCHW)

    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-4)


def test_settings_are_put_back_even_after_an_error() -> None:
    spec = tiny_spec()
    peer = Peer(spec, random_images(spec, 64), CPU, flags=True)
    own = attention.upsample_bilinear
    torch.set_deterministic_debug_mode("error")
    try:
        with suppress(ZeroDivisionError), peer.settings():
            assert attention.upsample_bilinear is not own
            assert torch.get_deterministic_debug_mode() == 0
            raise ZeroDivisionError
        assert attention.upsample_bilinear is own
        assert torch.get_deterministic_debug_mode() == 2
    finally:
        torch.set_deterministic_debug_mode("default")


def test_images_are_cropped_from_black_padding_and_mirrored_half_the_time() -> None:
    image = np.random.default_rng(0).integers(1, 256, (1, 6, 6, 3), dtype=np.uint8)
    plain = PilImages(image, np.array([7]), None)
    moved = PilImages(image, np.array([7]), augment_of("crop_flip", pad_px=1))
    black = (-plain.mean / plain.std).expand(3, 8, 8).clone()
    padded = black.clone()
    padded[:, 1:7, 1:7] = plain[0][0]
    crops = [padded[:, top : top + 6, left : left + 6] for top in range(3) for left in range(3)]
    allowed = [crop.flip(2) if mirrored else crop for crop in crops for mirrored in (False, True)]

    random.seed(0)
    found = set[int]()
    for _ in range(300):
        x_CHW, label = moved[0]
        assert label == 7
        found.add(next(i for i, a in enumerate(allowed) if torch.allclose(a, x_CHW, atol=1e-6)))

    assert found == set(range(18))


def test_contenders_alternate_and_the_warm_up_is_not_counted() -> None:
    calls: list[str] = []
    contenders = [Contender(name, 10, partial(calls.append, name)) for name in "ab"]
    times = speed.take_turns(contenders, 3, Bench(CPU))
    assert "".join(calls) == "ba" + "ab" + "ba" + "ab"
    assert [len(took) for took in times] == [3, 3]


def test_the_device_is_waited_for_and_settings_hold_for_one_contender_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []

    @contextmanager
    def on() -> Iterator[None]:
        calls.append("on")
        yield
        calls.append("off")

    monkeypatch.setattr(Bench, "synchronize", lambda _: calls.append("wait"))
    with_, without = (partial(calls.append, name) for name in ("with", "without"))
    speed.take_turns([Contender("with", 1, with_, on)], 1, Bench(CPU))
    assert calls == ["on", "wait", "with", "wait", "off"]
    calls.clear()
    speed.take_turns([Contender("without", 1, without)], 1, Bench(CPU))
    assert calls == ["wait", "without", "wait"]


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=9), st.floats(0.1, 10))
def test_a_constant_ratio_survives_rounds_of_any_speed(rounds: list[float], factor: float) -> None:
    ours, other = [(s, s) for s in rounds], [(factor * s, s) for s in rounds]
    for value in speed.times_as_fast(2, ours, other, 0).values():
        assert value == pytest.approx(2 * factor)
    assert speed.times_as_fast(1, ours, other, 1) == {"median": 1, "low": 1, "high": 1}


def test_training_testing_and_loading_give_rows_with_ratios_in_a_table_and_in_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = [item for item in COMPARISONS if "smoke network" in item.name or "CIFAR" in item.name]
    monkeypatch.setattr(speed, "COMPARISONS", chosen)
    with restored():
        speed.main(["--quick", "--output", str(tmp_path)])
    shown = capsys.readouterr().out
    (kept,) = tmp_path.glob("*.json")
    rows = json.loads(kept.read_text())["rows"]
    assert {row["what"] for row in rows} == {item.name for item in chosen}
    for row in rows:
        assert f"| {row['what']} | {row['against']} |" in shown
        assert row["ratio"]["median"] == pytest.approx(
            row["ours"]["median"] / row["other"]["median"]
        )
    assert kept.with_suffix(".md").read_text() == shown
    assert "It works; it measures nothing." in shown


def test_a_command_that_fails_is_an_error() -> None:
    wrong = Comparison("wrong", "cpu", starting("no-such-verb"), unit="s")
    with pytest.raises(RuntimeError, match="unknown command 'no-such-verb'"):
        speed.measure(wrong, Bench(CPU, quick=True))
