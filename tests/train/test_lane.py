"""One run's live state: equal where arms are compared, and independent where they must be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from resbench.suite.spec import RunSpec
from resbench.train.casts import Bf16Forward
from resbench.train.checkpoint import dump
from resbench.train.engine import make_engine
from resbench.train.lane import EVAL_BATCH, Diverged, Lane, score
from resbench.train.signals import measure_signals

from ..mini import REPORT, spec_of
from .live import lane_of, prepared, train_epoch

NOISY = {"data__clean_ratio": 0.5}


def test_arl_and_nal_start_from_equal_weights() -> None:
    arl, nal = (lane_of(spec_of(model__learning=learning)).model for learning in ("arl", "nal"))
    for (name, weight), (other, same) in zip(
        arl.state_dict().items(), nal.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(weight, same)


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


@pytest.mark.parametrize("kind", [{}, {"model__activation": "channel"}, REPORT])
def test_grouped_casts_change_no_bit(kind: dict[str, Any]) -> None:
    spec = spec_of(precision="bf16", **kind)
    states = []
    for grouped in (True, False):
        lane = lane_of(spec)
        if not grouped:
            lane.forward = lane.model  # autocast alone
        losses = train_epoch(lane, 1)
        tested = lane.evaluate(lane.images.test_images, lane.images.test_labels)
        states.append((losses, tested.loss, dump(lane.model, lane.optimizer, {})))
    assert states[0] == states[1]


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


def test_other_seeds_and_epochs_see_other_draws() -> None:
    lanes = [
        lane_of(spec_of(seed=seed, **NOISY), epoch) for seed, epoch in ((1, 1), (1, 2), (2, 1))
    ]
    for i, j in ((0, 1), (0, 2)):
        assert not torch.equal(lanes[i].draws.index, lanes[j].draws.index)
        assert not torch.equal(lanes[i].draws.params, lanes[j].draws.params)
    assert torch.equal(lanes[0].pipeline.labels, lanes[1].pipeline.labels)
    assert not torch.equal(lanes[0].pipeline.labels, lanes[2].pipeline.labels)
    weights = [next(lane.model.parameters()) for lane in lanes]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_one_purpose_draws_from_its_own_seed() -> None:
    plain = lane_of(spec_of(), 1)
    calm = lane_of(spec_of(training__augment__kind="none"), 1)
    noisy = lane_of(spec_of(**NOISY), 1)
    assert torch.equal(plain.draws.index, calm.draws.index)
    assert torch.equal(plain.draws.params, noisy.draws.params)


def test_an_epoch_does_not_depend_on_the_way_there() -> None:
    walked, jumped = lane_of(spec_of()), lane_of(spec_of())
    for epoch in (1, 2):
        train_epoch(walked, epoch)
    torch.rand(1000)
    walked.begin_epoch(3)
    jumped.begin_epoch(3)
    assert torch.equal(walked.draws.index, jumped.draws.index)
    assert torch.equal(walked.draws.params, jumped.draws.params)


def test_an_epoch_shows_every_image_at_most_once_in_full_batches() -> None:
    lane = lane_of(spec_of(training__batch_size=24), 1)
    assert len(lane.draws.index) == len(lane.draws.index.unique()) == 48


def test_dropout_repeats_at_an_epoch_and_not_at_another() -> None:
    spec = spec_of(**REPORT)

    def losses(epoch: int) -> list[float]:
        lane = lane_of(spec, epoch)
        torch.manual_seed(12345 + epoch)  # whatever the process drew before
        lane.begin_epoch(epoch)
        return [float(lane.train_step(lane.draws.index[:16], lane.draws.params[:16]))]

    assert losses(1) == losses(1)
    lane = lane_of(spec, 1)
    index, params = lane.draws.index[:16], lane.draws.params[:16]
    torch.manual_seed(1)
    assert losses(1) != [float(lane.train_step(index, params))]


def test_evaluation_drops_nothing_and_changes_nothing() -> None:
    lane = lane_of(spec_of(**REPORT), 1)
    train_epoch(lane, 1)
    before = dump(lane.model, lane.optimizer, {})
    images = lane.images
    first, second = (lane.evaluate(images.test_images, images.test_labels) for _ in range(2))
    assert first.loss == second.loss
    assert np.array_equal(first.prob_true, second.prob_true)
    assert dump(lane.model, lane.optimizer, {}) == before


def test_evaluation_does_not_depend_on_its_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    lane = lane_of(spec_of(), 1)
    train_epoch(lane, 1)
    images, model = lane.images, lane.model.double()  # so that no rounding decides a prediction
    lane.eval_forward = lambda x_BCHW: model(x_BCHW.double())
    whole = lane.evaluate(images.test_images, images.test_labels)
    monkeypatch.setitem(EVAL_BATCH, "cpu", 7)
    parts = lane.evaluate(images.test_images, images.test_labels)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-9)
    assert np.array_equal(parts.pred, whole.pred)
    assert len(parts.pred) == 50


def test_labels_are_corrupted_once_or_anew_every_epoch() -> None:
    clean = prepared(spec_of()).train_labels
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
        assert 0.3 < np.mean(labels != clean) < 0.7


def test_test_labels_are_never_corrupted() -> None:
    assert np.array_equal(prepared(spec_of(**NOISY)).test_labels, prepared(spec_of()).test_labels)
    noise_hash, matrix = prepared(spec_of(**NOISY)).noise
    assert noise_hash is not None
    assert matrix is not None
    assert len(matrix) == 100
    assert prepared(spec_of()).noise == (None, None)


def test_every_seed_and_arm_has_the_same_subset_of_images() -> None:
    sets = [prepared(spec_of(seed=seed, model__learning=m)) for seed, m in ((1, "arl"), (2, "nal"))]
    assert np.array_equal(sets[0].train_images, sets[1].train_images)
    assert np.array_equal(sets[0].test_images, sets[1].test_images)


def test_totals_are_the_mean_loss_and_error_over_the_epoch() -> None:
    lane = lane_of(spec_of())
    losses = train_epoch(lane, 1)
    loss, error, clean, corrupted = lane.epoch_totals(lane.steps.in_epoch(1))
    assert loss == pytest.approx(np.mean(losses), rel=1e-9)
    assert error * 64 / 100 == pytest.approx(round(error * 64 / 100))
    assert (clean, corrupted) == (None, None)


def test_errors_on_clean_and_on_corrupted_labels_add_up_to_the_training_error() -> None:
    lane = lane_of(spec_of(**NOISY))
    train_epoch(lane, 1)
    totals = lane.epoch_totals(lane.steps.in_epoch(1))
    seen = lane.draws.index
    corrupted = (lane.pipeline.labels[seen] != lane.clean_labels[seen]).double().mean().item()
    assert 0.2 < corrupted < 0.8
    assert totals.train_err_clean is not None
    assert totals.train_err_corrupted is not None
    both = (1 - corrupted) * totals.train_err_clean + corrupted * totals.train_err_corrupted
    assert both == pytest.approx(totals.train_top1_err)


def test_signals_are_those_of_the_masks_and_leave_the_run_as_it_was() -> None:
    arl, nal = (lane_of(spec_of(model__learning=how)) for how in ("arl", "nal"))
    before = {name: value.clone() for name, value in arl.model.state_dict().items()}
    random = torch.get_rng_state()
    found = [measure_signals(lane, lane.model) for lane in (arl, nal)]
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[k], v) for k, v in arl.model.state_dict().items())
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


def test_a_network_without_attention_has_no_signals() -> None:
    model = {"family": "he2016", "name": "resnet-164", "width": 0.125}
    lane = lane_of(spec_of(model=model))
    assert measure_signals(lane, lane.model) is None


def test_a_loss_that_is_not_finite_leaves_the_weights_as_they_were() -> None:
    lane = lane_of(spec_of(), 1)
    with torch.no_grad():
        lane.model.get_submodule("fc").weight.fill_(1e38)  # type: ignore[operator]
    before = [p.clone() for p in lane.model.parameters()]
    with pytest.raises(Diverged, match="the loss was not finite at step 5"):
        make_engine([lane]).run_epoch(range(4, 8), lambda _: None)
    assert all(torch.equal(a, b) for a, b in zip(before, lane.model.parameters(), strict=True))


def test_a_score_is_cross_entropy_and_error_of_the_logits() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.0, 3.0], [1.0, 1.5, 0.0], [9.0, 0.0, 0.0]])
    labels = np.array([0, 2, 0, 1])
    result = score(logits, labels)
    assert result.top1_err == 50.0
    exact = logits.double()
    assert result.loss == pytest.approx(float(F.cross_entropy(exact, torch.tensor(labels))))
    assert result.pred.tolist() == [0, 2, 1, 0]
    expected = torch.softmax(exact, 1)[torch.arange(4), torch.tensor(labels)]
    np.testing.assert_allclose(result.prob_true, expected, rtol=1e-6)


def test_the_learning_rate_of_each_step_is_in_force() -> None:
    drops = [{"at": 5, "factor": 0.1}]
    schedule = {"unit": "step", "total": 8, "drops": drops, "warmup": {"until": 2, "lr": 0.01}}
    lane = lane_of(spec_of(training__schedule=schedule), 1)
    rates = []
    for step in range(8):
        lane.use_lr(step)
        rates.append(lane.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.01] * 2 + [0.05] * 3 + [0.005] * 3)


def test_a_report_network_is_a_lane_too() -> None:
    spec: RunSpec = spec_of(**REPORT)
    losses = [np.mean(train_epoch(lane, epoch)) for lane in [lane_of(spec)] for epoch in (1, 2, 3)]
    assert losses[-1] < losses[0]
