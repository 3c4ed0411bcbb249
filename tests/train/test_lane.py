"""One run's live state: equal where arms are compared, and independent where they must be."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from resbench.data.digits import read_digits
from resbench.data.images import stratified_indices
from resbench.data.pipeline import draw
from resbench.errors import UsageError
from resbench.suite.spec import derive_seed
from resbench.train import masks
from resbench.train.engine import make_engine
from resbench.train.lane import EVAL_BATCH, Bf16Forward, Diverged, Lane, score, seed_generators
from resbench.train.masks import measure_signals

from ..mini import REPORT, spec_of
from .live import CPU, evaluated, lane_of, prepared, state_of, train_epoch

NOISY = {"data__clean_ratio": 0.5}


def test_arl_and_nal_start_from_equal_weights() -> None:
    arl, nal = (lane_of(spec_of(model__learning=how)).model.state_dict() for how in ("arl", "nal"))
    assert list(arl) == list(nal)
    assert all(torch.equal(arl[name], nal[name]) for name in arl)


@pytest.mark.parametrize(
    "arm",
    [
        {"model__learning": "nal"},
        {"model__mask": "local"},
        {"model__activation": "spatial"},
        {"training__optim__lr": 0.5},
        {"training__schedule__total": 9},
    ],
)
def test_arms_at_one_seed_see_the_same_order_augmentation_and_noise(arm: dict[str, Any]) -> None:
    first, second = lane_of(spec_of(**NOISY), 3), lane_of(spec_of(**NOISY, **arm), 3)
    assert torch.equal(first.draws.index, second.draws.index)
    assert torch.equal(first.draws.params, second.draws.params)
    assert torch.equal(first.pipeline.labels, second.pipeline.labels)
    assert np.array_equal(first.images.train_images, second.images.train_images)


@pytest.mark.parametrize("kind", [{}, {"model__activation": "channel"}, REPORT])
def test_grouped_casts_change_no_bit(kind: dict[str, Any]) -> None:
    grouped, plain = (lane_of(spec_of(precision="bf16", **kind)) for _ in range(2))
    plain.forward = plain.model  # autocast alone
    assert train_epoch(grouped, 1) == train_epoch(plain, 1)
    assert evaluated(grouped).loss == evaluated(plain).loss
    assert state_of(grouped) == state_of(plain)


def test_a_layer_of_ones_own_is_cast_where_it_casts_itself() -> None:
    class Centred(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert self.weight.dtype == torch.float32
            return F.linear(x, self.weight - self.weight.mean(), self.bias)

    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), Centred(16, 2), nn.Linear(2, 2))
    forward, x = Bf16Forward(model), torch.randn(5, 3, 2, 2)
    assert list(forward.weights) == ["0.weight", "0.bias", "3.weight", "3.bias"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(forward(x), model(x))


def test_only_weights_that_are_trained_are_cast_and_only_used_ones_have_gradients() -> None:
    model = nn.ModuleDict({name: nn.Linear(2, 2) for name in ("used", "unused", "frozen")})
    model["frozen"].requires_grad_(False)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.parts["frozen"](self.parts["used"](x))

    forward = Bf16Forward(Net())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        forward(torch.ones(1, 2)).float().sum().backward()
    have = [name for name, p in model.named_parameters() if p.grad is not None]
    assert have == ["used.weight", "used.bias"]
    assert not any("frozen" in name for name in forward.weights)
    nothing_to_cast = Bf16Forward(nn.Sequential(nn.BatchNorm2d(3)))
    assert nothing_to_cast(torch.ones(1, 3, 2, 2)).shape == (1, 3, 2, 2)


def test_lanes_share_images_that_are_the_same_and_no_others() -> None:
    first = lane_of(spec_of())

    def shares(**changes: Any) -> bool:
        spec = spec_of(seed=2, **changes)
        lane = Lane(spec, prepared(spec), first.device, like=first)
        return lane.pipeline._packed is first.pipeline._packed

    assert shares()
    assert shares(**NOISY)
    assert not shares(data__train_images=60)
    assert not shares(training__augment__pad_px=2)
    assert not shares(training__normalise="none")


def test_other_seeds_and_epochs_see_other_draws_of_the_same_images() -> None:
    first, later, other = (
        lane_of(spec_of(seed=seed, **NOISY), epoch) for seed, epoch in ((1, 1), (1, 2), (2, 1))
    )
    for lane in (later, other):
        assert not torch.equal(first.draws.index, lane.draws.index)
        assert not torch.equal(first.draws.params, lane.draws.params)
        assert np.array_equal(first.images.train_images, lane.images.train_images)
        assert np.array_equal(first.images.test_images, lane.images.test_images)
    assert torch.equal(first.pipeline.labels, later.pipeline.labels)
    assert not torch.equal(first.pipeline.labels, other.pipeline.labels)
    weights = [next(lane.model.parameters()) for lane in (first, later, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_order_augmentation_and_noise_of_an_epoch_have_seeds_of_their_own() -> None:
    """The draws of a specification are part of NUMERICS."""
    spec = spec_of(seed=2)
    lane = lane_of(spec, 3)

    def seeded(purpose: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(2, purpose, 3))

    order = torch.randperm(64, generator=seeded("order"))
    crops = draw(spec.training.augment, 64, (8, 8), seeded("augment"))
    noisy = lane_of(spec_of(seed=2, **NOISY, data__noise="redrawn"), 3)
    labels = noisy.images.noisy_labels(derive_seed(2, "noise", 3))
    assert np.array_equal(noisy.pipeline.labels, labels)
    for each in (lane, noisy):
        assert torch.equal(each.draws.index, order)
        assert torch.equal(each.draws.params, crops)


def test_a_subset_is_drawn_by_seeds_of_the_data_and_says_which_images_it_has() -> None:
    whole, found = read_digits(), prepared(spec_of(seed=7, data__image_px=None))
    for split, size in (("train", 64), ("test", 50)):
        labels, images = (getattr(whole, f"{split}_{part}") for part in ("labels", "images"))
        rows = stratified_indices(labels, size, derive_seed(0, f"subset-{split}"))
        assert np.array_equal(getattr(found, f"{split}_labels"), labels[rows])
        assert np.array_equal(getattr(found, f"{split}_images"), images[rows])
    assert np.array_equal(found.test_rows, rows)


def test_no_more_images_are_checked_in_training_than_there_are() -> None:
    assert len(prepared(spec_of(training__val_in_train=64)).train_images) == 64
    with pytest.raises(UsageError, match="val_in_train is 65, but the run has only 64"):
        prepared(spec_of(training__val_in_train=65))


def test_an_epoch_has_the_batches_that_the_images_fill_which_are_there() -> None:
    """A folder of images may have fewer than the published data set."""
    images = prepared(spec_of())
    half = {name: getattr(images, name)[:40] for name in ("train_images", "train_labels")}
    lane = Lane(spec_of(), replace(images, **half, clean_labels=half["train_labels"]), CPU)
    lane.begin_epoch(1)
    assert (lane.steps.per_epoch, lane.epoch_steps, len(lane.draws.index)) == (2, range(2), 32)


def test_the_first_images_are_as_many_as_their_run_says() -> None:
    some = {"data__train_images": None, "data__first": 1438}
    assert len(prepared(spec_of(**some)).train_images) == 1438
    with pytest.raises(UsageError, match="is 1439, but there are only 1438 training images"):
        prepared(spec_of(**{**some, "data__first": 1439}))


def test_dropout_repeats_at_an_epoch_and_not_at_another() -> None:
    def loss(before: int, after: int | None = None) -> float:
        lane = lane_of(spec_of(**REPORT))
        torch.manual_seed(before)  # whatever the process drew
        lane.begin_epoch(1)
        if after is not None:
            torch.manual_seed(after)
        return float(lane.train_step(*lane.batch(0)))

    assert loss(1) == loss(2) != loss(1, after=1)
    lane, states = lane_of(spec_of(**REPORT)), []
    for epoch in (1, 2, 1):
        lane.begin_epoch(epoch)
        states.append(torch.get_rng_state())
    assert torch.equal(states[0], states[2])
    assert not torch.equal(states[0], states[1])


def test_a_seed_is_that_of_all_that_a_network_may_draw_from() -> None:
    drawn = []
    for seed in (1, 1, 2):
        seed_generators(seed)
        drawn.append((torch.rand(()).item(), random.random(), float(np.random.rand())))
    one, again, other = drawn
    assert one == again
    assert all(a != b for a, b in zip(one, other, strict=True))


def test_evaluation_drops_nothing_and_changes_nothing() -> None:
    lane = lane_of(spec_of(**REPORT))
    train_epoch(lane, 1)
    before = state_of(lane)
    first, second = evaluated(lane), evaluated(lane)
    assert first.loss == second.loss
    assert np.array_equal(first.prob_true, second.prob_true)
    assert state_of(lane) == before


def test_evaluation_does_not_depend_on_its_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    lane = lane_of(spec_of())
    train_epoch(lane, 1)
    model = lane.model.double()  # so that no rounding decides a prediction
    lane.eval_forward = lambda x_BCHW: model(x_BCHW.double())
    whole = evaluated(lane)
    monkeypatch.setitem(EVAL_BATCH, "cpu", 7)
    parts = evaluated(lane)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-9)
    assert np.array_equal(parts.pred, whole.pred)
    assert len(parts.pred) == 50


def test_labels_are_corrupted_once_or_anew_every_epoch_and_those_of_the_test_never() -> None:
    clean, noisy = prepared(spec_of()), prepared(spec_of(**NOISY))
    fixed = lane_of(spec_of(**NOISY), 1)
    first = fixed.pipeline.labels.clone()
    fixed.begin_epoch(2)
    assert torch.equal(first, fixed.pipeline.labels)
    redrawn = lane_of(spec_of(**NOISY, data__noise="redrawn"), 1)
    first = redrawn.pipeline.labels.clone()
    redrawn.begin_epoch(2)
    assert not torch.equal(first, redrawn.pipeline.labels)
    redrawn.begin_epoch(1)
    assert torch.equal(first, redrawn.pipeline.labels)
    for labels in (first.numpy(), fixed.pipeline.labels.numpy()):
        assert 0.3 < np.mean(labels != clean.train_labels) < 0.7
    assert np.array_equal(noisy.test_labels, clean.test_labels)
    assert clean.noise == (None, None)


def test_totals_are_the_mean_loss_and_error_over_the_epoch() -> None:
    lane = lane_of(spec_of())
    losses = train_epoch(lane, 1)
    loss, error, clean, corrupted = lane.epoch_totals()
    assert loss == pytest.approx(np.mean(losses), rel=1e-9)
    assert error * 64 / 100 == pytest.approx(round(error * 64 / 100))
    assert (clean, corrupted) == (None, None)
    one_step = lane_of(spec_of(training__batch_size=64), 1)
    index, params = one_step.batch(0)
    logits = copy.deepcopy(one_step.model)(one_step.pipeline.gather(index, params))
    wrong = logits.argmax(1) != one_step.pipeline.labels[index]
    one_step.train_step(index, params)
    assert one_step.epoch_totals().train_top1_err == 100 * wrong.double().mean()


def test_errors_on_clean_and_on_corrupted_labels_add_up_to_the_training_error() -> None:
    lane = lane_of(spec_of(**NOISY))
    train_epoch(lane, 1)
    _, error, clean_error, corrupted_error = lane.epoch_totals()
    seen = lane.draws.index
    corrupted = (lane.pipeline.labels[seen] != lane.clean_labels[seen]).double().mean().item()
    assert 0.2 < corrupted < 0.8
    assert clean_error is not None
    assert corrupted_error is not None
    both = (1 - corrupted) * clean_error + corrupted * corrupted_error
    assert both == pytest.approx(error)
    lane = lane_of(spec_of(**NOISY, training__batch_size=64), 1)
    index, params = lane.batch(0)
    said = copy.deepcopy(lane.model)(lane.pipeline.gather(index, params)).argmax(1)
    lane.clean_labels[index] = said
    lane.pipeline.labels[index] = (said + torch.arange(64) % 2) % 10  # every other one is corrupted
    lane.train_step(index, params)
    assert lane.epoch_totals()[1:] == (50.0, 0.0, 100.0)


def test_totals_of_an_epoch_count_nothing_of_the_one_before() -> None:
    one, other = (lane_of(spec_of(**NOISY)) for _ in range(2))
    for lane in (one, other):
        train_epoch(lane, 1)
    for counter in (other.loss_sum, other.wrong, other.wrong_corrupted):
        assert counter.item() > 0
        counter.zero_()
    for lane in (one, other):
        train_epoch(lane, 2)
    assert one.epoch_totals() == other.epoch_totals()


def test_signals_are_those_of_the_masks_and_leave_the_run_as_it_was() -> None:
    arl, nal = (lane_of(spec_of(model__learning=how)) for how in ("arl", "nal"))
    before, random = state_of(arl), torch.get_rng_state()
    found = [measure_signals(lane, lane.model) for lane in (arl, nal)]
    assert torch.equal(torch.get_rng_state(), random)
    assert state_of(arl) == before
    assert all(p.grad is None for p in arl.model.parameters())
    for signals in found:
        assert signals is not None
        assert len(signals.stages) == 3
        for stage in signals.stages.values():
            assert 0 < stage.mask_mean < 1
    first = [s.stages["stage1_attention"] for s in found if s is not None]
    assert first[0].trunk_rms == first[1].trunk_rms  # the same weights, before any mask has acted
    assert first[1].product_rms < first[1].trunk_rms < first[0].product_rms
    assert measure_signals(arl, arl.new_model()) == found[0]


def test_signals_are_of_the_last_module_of_a_stage() -> None:
    model = lane_of(spec_of(model__name="attention-92")).model
    stages = [f"stage{number}_attention" for number in (1, 2, 3)]
    last = {stage: list(model.get_submodule(stage).children())[1] for stage in stages}
    assert masks._last_of_each_stage(model) == last


def test_signals_are_of_the_statistics_of_a_batch() -> None:
    lane = lane_of(spec_of())
    found = measure_signals(lane, lane.model)
    for part in lane.model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.get_buffer("running_var").fill_(100.0)
    assert measure_signals(lane, lane.model) == found


def test_signals_that_are_no_numbers_are_none() -> None:
    lane = lane_of(spec_of())
    with torch.no_grad():
        lane.model.get_submodule("fc").weight.fill_(float("inf"))  # type: ignore[operator]
    assert measure_signals(lane, lane.model) is None


def test_signals_are_means_over_their_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "BATCH", 32)
    spec = spec_of(training__normalise="none")
    images, norms = prepared(spec), []
    for part in (slice(0, 64), slice(0, 32), slice(32, 64)):
        names = ("train_images", "train_labels", "clean_labels")
        some = replace(images, **{name: getattr(images, name)[part] for name in names})
        lane = Lane(spec, some, torch.device("cpu"))
        signals = measure_signals(lane, lane.model)
        assert signals is not None
        norms.append(signals.stem_grad_norm)
    assert norms[0] == pytest.approx(np.mean(norms[1:]))


def test_signals_leave_out_a_last_batch_of_one_image() -> None:
    found = []
    for images in (65, 64):
        data = {"data__train_images": None, "data__first": images}
        lane = lane_of(spec_of(training__normalise="none", **data))
        found.append(measure_signals(lane, lane.model))
    assert found[0] is not None
    assert found[0] == found[1]


def test_a_network_without_attention_has_no_signals() -> None:
    lane = lane_of(spec_of(model={"family": "he2016", "name": "resnet-164", "width": 0.125}))
    assert measure_signals(lane, lane.model) is None


def test_a_loss_that_is_not_finite_leaves_the_weights_as_they_were() -> None:
    lane = lane_of(spec_of())
    with torch.no_grad():
        lane.model.get_submodule("fc").weight.fill_(1e38)  # type: ignore[operator]
    before = [p.clone() for p in lane.model.parameters()]
    with pytest.raises(Diverged, match="the loss was not finite at step 5"):
        make_engine([lane]).run_epoch(2, lambda _: None)
    assert all(torch.equal(a, b) for a, b in zip(before, lane.model.parameters(), strict=True))


def test_a_score_is_cross_entropy_and_error_of_the_logits() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.0, 3.0], [1.0, 1.5, 0.0], [9.0, 0.0, 0.0]])
    labels = np.array([0, 2, 0, 1])
    result = score(logits, labels)
    assert result.top1_err == 50.0
    exact = logits.double()
    loss = float(F.cross_entropy(exact, torch.tensor(labels)))
    assert result.loss == pytest.approx(loss, rel=1e-12), "in float64"
    assert result.pred.tolist() == [0, 2, 1, 0]
    expected = torch.softmax(exact, 1)[torch.arange(4), torch.tensor(labels)]
    np.testing.assert_allclose(result.prob_true, expected, rtol=1e-6)


@pytest.mark.parametrize("kind", [{}, REPORT])
def test_a_network_of_either_source_learns(kind: dict[str, Any]) -> None:
    lane = lane_of(spec_of(**kind))
    losses = [np.mean(train_epoch(lane, epoch)) for epoch in (1, 2, 3)]
    assert losses[-1] < losses[0]
