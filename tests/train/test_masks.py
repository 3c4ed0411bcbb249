"""What is drawn is what the network computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec import structs
from safetensors.torch import load, save
from torch import Tensor, nn

from resbench.data.digits import read_digits
from resbench.datasets import DATA_SETS
from resbench.errors import EnvironmentFault, UsageError
from resbench.models.attention import AttentionModule
from resbench.store.layout import RunFolder
from resbench.store.predictions import read_predictions
from resbench.store.records import RunRecord, read_record, read_weights, write_record
from resbench.suite.spec import RunSpec
from resbench.train.masks import Observed, class_names, observe

from ..mini import spec_of
from .live import Worker, lane_of

SHORT = {"training__schedule__total": 1, "training__batch_size": 32}
ROWS = [4, 0, 17]


def trained(results: Path, spec: RunSpec) -> tuple[RunFolder, RunRecord]:
    worker = Worker(results)
    assert worker.run(spec, keep_weights=True)[0][1] == "done"
    folder = worker.folder(spec)
    return folder, read_record(folder)


def observed(folder: RunFolder, record: RunRecord, rows: list[int]) -> Observed:
    return observe(folder, record, read_digits(), rows)


@pytest.mark.parametrize(
    ("learning", "normalise"), [("arl", "mean_image"), ("nal", "channel_mean_std_per_split")]
)
def test_maps_are_those_that_the_network_computes(
    tmp_path: Path, learning: str, normalise: str
) -> None:
    spec = spec_of(model__learning=learning, training__normalise=normalise, **SHORT)
    folder, record = trained(tmp_path, spec)
    found = observed(folder, record, ROWS)
    lane, weights = lane_of(spec), read_weights(folder, record)
    assert weights is not None
    lane.model.load_state_dict(load(weights))
    model = lane.model.eval()
    with torch.inference_mode():
        tested = lane.images.test_images
        statistics = lane.pipeline.statistics_for(tested)
        x_BCHW: Tensor = lane.pipeline.normalise_eval(tested[ROWS], statistics)
        for name, part in model.named_children():
            if name == "stage1_attention":
                break
            x_BCHW = part(x_BCHW)
        assert isinstance(part, nn.Sequential)
        (module,) = part
        assert isinstance(module, AttentionModule)
        x_BCHW = module.before(x_BCHW)
        trunk, mask = module.trunk(x_BCHW), module.mask(x_BCHW)
        output = mask * trunk + (trunk if learning == "arl" else 0)
    for name, expected in (("trunk", trunk), ("mask", mask), ("output", output)):
        maps = found.stages[0][name]
        assert np.allclose(maps, expected.mean(1).numpy(), rtol=1e-4, atol=1e-5), name
    assert [stage["mask"].shape for stage in found.stages] == [(3, 8, 8), (3, 4, 4), (3, 2, 2)]


def test_images_classes_and_predictions_are_the_runs_own(tmp_path: Path) -> None:
    folder, record = trained(tmp_path, spec_of(**SHORT))
    stored = read_predictions(folder.predictions)
    found = observed(folder, record, ROWS)
    names = read_digits().class_names
    assert found.true == tuple(names[label] for label in stored.label[ROWS])
    assert found.predicted == tuple(names[pred] for pred in stored.pred[ROWS])
    tested = lane_of(spec_of(**SHORT)).images.test_images
    assert np.array_equal(found.images, tested[ROWS])
    assert not np.array_equal(found.images[0], found.images[1])


def test_classes_of_the_published_images_have_their_names_in_any_container() -> None:
    images = read_digits()
    named = replace(DATA_SETS["cifar10"], fingerprint=images.fingerprint)
    names = "airplane automobile bird cat deer dog frog horse ship truck"
    assert class_names(images, named) == tuple(names.split())
    assert class_names(images, replace(named, fingerprint="0" * 64)) == images.class_names
    assert class_names(images, DATA_SETS["digits"]) == tuple("0123456789")


def test_what_cannot_be_drawn_is_said_in_one_line(tmp_path: Path) -> None:
    spec = spec_of(**SHORT)
    folder, record = trained(tmp_path / "kept", spec)
    with pytest.raises(UsageError, match=r"--images 50: run \w+ has test images 0 to 49\.$"):
        observed(folder, record, [0, 50])
    folder.weights.write_bytes(save({"stem.weight": torch.zeros(1)}))
    other = write_record(folder, structs.replace(record, files={}, record_hash=""))
    with pytest.raises(EnvironmentFault, match=r"does not fit the network \(.+\)\.$"):
        observed(folder, other, [0])
    folder.weights.unlink()
    with pytest.raises(EnvironmentFault, match=r"missing\. Copy it from where the run was trained"):
        observed(folder, record, [0])


def test_a_network_without_masks_is_said_to_have_none(tmp_path: Path) -> None:
    model = {"family": "he2016", "name": "resnet-164", "width": 0.125}
    folder, record = trained(tmp_path, spec_of(model=model, **SHORT))
    with pytest.raises(UsageError, match="has no Attention Module"):
        observed(folder, record, [0])
