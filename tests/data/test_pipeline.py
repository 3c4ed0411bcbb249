from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from scipy import ndimage

from resbench.data.pipeline import EpochDraws, Pipeline, draw, fit_statistics
from resbench.errors import UsageError
from resbench.suite.spec import Augment

from ..mini import augment_of

AFFINE = augment_of("affine", rotation_deg=20, shift=0.2, zoom=0.2)
SEED = st.integers(0, 2**32 - 1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(
    n: int, height: int = 32, width: int = 32, seed: int = 0
) -> npt.NDArray[np.uint8]:
    shape = (n, height, width, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def pipeline(images: npt.NDArray[np.uint8], augment: Augment, **options: str) -> Pipeline:
    labels = np.arange(len(images)) % 10
    return Pipeline(images, labels, augment=augment, **({"normalise": "none"} | options))  # type: ignore[arg-type]


def epoch(made: Pipeline, n: int, seed: int = 0) -> EpochDraws:
    return made.draw_epoch(1, n, generator(seed), generator(seed + 1))


@settings(deadline=None, max_examples=60)
@given(
    SEED, st.integers(1, 9), st.integers(4, 9), st.integers(4, 9), st.integers(0, 5), st.booleans()
)
def test_crop_flip_equals_a_naive_loop_that_subtracts_then_pads_then_crops(
    seed: int, n: int, height: int, width: int, pad: int, flip: bool
) -> None:
    images = random_images(n, height, width, seed)
    made = pipeline(images, augment_of("crop_flip", pad_px=pad, flip=flip), normalise="mean_image")
    draws = epoch(made, n, seed)
    # and the crop of the last image that reads the very end of the tensor
    indices = torch.cat([draws.index, torch.tensor([n - 1])])
    params = torch.cat([draws.params, torch.tensor([[2 * pad, 2 * pad, 0]])])
    batch = made.gather(indices, params)
    mean = (images.sum(axis=0) / n).astype(np.float32)
    scaled = (images.astype(np.float32) - mean) * np.float32(1 / 255)
    for x, index, (top, left, mirrored) in zip(batch, indices, params, strict=True):
        padded = np.pad(scaled[index], ((pad, pad), (pad, pad), (0, 0)))
        crop = padded[top : top + height, left : left + width]
        expected = crop[:, ::-1] if mirrored else crop
        np.testing.assert_array_equal(x.permute(1, 2, 0).numpy(), expected)


@settings(deadline=None, max_examples=40)
@given(SEED, st.sampled_from([(8, 8), (7, 10), (32, 32)]))
def test_affine_equals_keras_own_form(seed: int, shape: tuple[int, int]) -> None:
    """As keras-preprocessing: matrices multiplied, moved to the centre, ndimage order 1."""
    height, width = shape
    images = random_images(4, height, width, seed)
    made = pipeline(images, AFFINE)
    draws = epoch(made, 4, seed)
    batch = made.gather(draws.index, draws.params)
    random = generator(seed + 1)
    uniform = torch.rand(4, 5, generator=random, dtype=torch.float64).numpy() * 2 - 1
    mirrored = torch.randint(0, 2, (4,), generator=random).numpy()
    for i, index in enumerate(draws.index):
        theta = np.deg2rad(20 * uniform[i, 0])
        rows, columns = 0.2 * uniform[i, 1] * height, 0.2 * uniform[i, 2] * width
        cos, sin = np.cos(theta), np.sin(theta)
        rotation = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        shift = np.array([[1, 0, rows], [0, 1, columns], [0, 0, 1]])
        zoom = np.diag([1 + 0.2 * uniform[i, 3], 1 + 0.2 * uniform[i, 4], 1])
        centre = np.array([[1, 0, (height - 1) / 2], [0, 1, (width - 1) / 2], [0, 0, 1]])
        matrix = centre @ rotation @ shift @ zoom @ np.linalg.inv(centre)
        for colour in range(3):
            plane = images[index, :, :, colour].astype(np.float64)
            expected = ndimage.affine_transform(
                plane, matrix[:2, :2], matrix[:2, 2], order=1, mode="nearest"
            )
            expected = expected[:, ::-1] if mirrored[i] else expected
            np.testing.assert_allclose(batch[i, colour].numpy() * 255, expected, atol=0.02)


def test_draws_fill_their_ranges_evenly() -> None:
    n = 90_000
    crop = draw(augment_of("crop_flip", pad_px=4), n, (32, 32), generator())
    for column, values in ((0, 9), (1, 9), (2, 2)):
        share = torch.bincount(crop[:, column], minlength=values) / n
        assert len(share) == values
        assert (share - 1 / values).abs().max() < 5 * (1 / values / n) ** 0.5
    a, b, _, c, d, _ = draw(AFFINE, n, (32, 32), generator()).double().unbind(1)
    angle = torch.rad2deg(torch.atan2(c, a))
    zoom_rows, zoom_columns = torch.hypot(a, c), torch.hypot(b, d)
    for drawn, low, high in ((angle, -20, 20), (zoom_rows, 0.8, 1.2), (zoom_columns, 0.8, 1.2)):
        assert low - 1e-5 <= drawn.min() < low + 0.001 * (high - low)
        assert high - 0.001 * (high - low) < drawn.max() <= high + 1e-5
        spread = (high - low) / 12**0.5
        assert (drawn.mean() - (low + high) / 2).abs() < 5 * spread / n**0.5
    assert torch.corrcoef(torch.stack([zoom_rows, zoom_columns]))[0, 1].abs() < 5 / n**0.5


def test_flip_off_mirrors_nothing_and_keeps_the_crops() -> None:
    flipped = draw(augment_of("crop_flip", flip=True), 500, (32, 32), generator())
    plain = draw(augment_of("crop_flip", flip=False), 500, (32, 32), generator())
    assert torch.equal(flipped[:, :2], plain[:, :2])
    assert not plain[:, 2].any()
    warped = [draw(replace(AFFINE, flip=on), 500, (32, 32), generator()) for on in (True, False)]
    for params, allowed in zip(warped, ({-1.0, 1.0}, {1.0}), strict=True):
        a, b, _, c, d, _ = params.unbind(1)
        assert set((a * d - b * c).sign().tolist()) == allowed


def test_epoch_is_a_permutation_that_depends_on_its_generator_only() -> None:
    crop = pipeline(random_images(10), augment_of("crop_flip"))
    plain = pipeline(random_images(10), augment_of("none"))
    draws = crop.draw_epoch(3, 3, generator(5), generator(6))
    assert len(set(draws.index.tolist())) == 9
    assert draws.params.shape == (9, 3)
    assert torch.equal(draws.index, plain.draw_epoch(3, 3, generator(5), generator(9)).index)
    assert not torch.equal(draws.index, crop.draw_epoch(3, 3, generator(7), generator(6)).index)


def test_labels_follow_their_images() -> None:
    images = (
        np.arange(10, dtype=np.uint8)[:, None, None, None].repeat(4, 1).repeat(4, 2).repeat(3, 3)
    )
    made = pipeline(images, augment_of("none"))
    draws = epoch(made, 10)
    x = made.gather(draws.index, draws.params)
    assert (x[:, 0, 0, 0] * 255).round().int().tolist() == made.labels[draws.index].tolist()


@pytest.mark.parametrize("augment", [augment_of("none"), augment_of("crop_flip"), AFFINE])
def test_batches_are_float32_in_channels_last(augment: Augment) -> None:
    made = pipeline(random_images(5), augment, normalise="channel_mean_std")
    draws = epoch(made, 4)
    for x in (made.gather(draws.index, draws.params), made.normalise_eval(random_images(4))):
        assert (x.dtype, x.shape) == (torch.float32, (4, 3, 32, 32))
        assert x.is_contiguous(memory_format=torch.channels_last)


def test_batch_does_not_depend_on_the_batches_around_it() -> None:
    made = pipeline(random_images(12), AFFINE)
    draws = epoch(made, 12)
    whole = made.gather(draws.index, draws.params)
    parts = [made.gather(draws.index[i : i + 4], draws.params[i : i + 4]) for i in (0, 4, 8)]
    assert torch.equal(whole, torch.cat(parts))


@pytest.mark.parametrize("n", [7, 2500])
def test_statistics_are_those_of_numpy(n: int) -> None:
    images = random_images(n, 8, 6) // np.array([1, 2, 3], dtype=np.uint8)
    scaled = images / 255
    for normalise, mean, deviation in (
        ("none", np.zeros(3), np.ones(3)),
        ("mean_image", scaled.mean(axis=0), np.ones(3)),
        ("channel_mean_std", scaled.mean(axis=(0, 1, 2)), scaled.std(axis=(0, 1, 2))),
    ):
        x = pipeline(images, augment_of("none"), normalise=normalise).normalise_eval(images)
        expected = ((scaled - mean) / deviation).transpose(0, 3, 1, 2)
        np.testing.assert_allclose(x.numpy(), expected, atol=2e-6)


def test_constant_colour_cannot_be_divided_by() -> None:
    with pytest.raises(UsageError, match="channel_mean_std: a colour is constant"):
        fit_statistics(np.full((5, 4, 4, 3), 77, np.uint8), "channel_mean_std")


def test_test_images_are_normalised_by_the_training_set_unless_split_by_split() -> None:
    train, test = random_images(20), random_images(7, seed=1) // 2
    shared = pipeline(train, augment_of("none"), normalise="channel_mean_std")
    split = pipeline(train, augment_of("none"), normalise="channel_mean_std_per_split")
    x_shared = torch.cat(list(shared.eval_batches(test, 3)))
    x_split = torch.cat(list(split.eval_batches(test, 3)))
    assert [len(x) for x in split.eval_batches(test, 3)] == [3, 3, 1]
    assert torch.equal(x_shared, shared.normalise_eval(test))
    assert x_shared.mean() < -0.5
    assert x_split.mean().abs() < 1e-5
    assert (x_split.std() - 1).abs() < 1e-3
    everything = torch.arange(20)
    assert torch.equal(
        shared.gather(everything, torch.empty(20, 0)), split.gather(everything, torch.empty(20, 0))
    )


def test_pipelines_of_the_same_images_share_them_and_not_their_labels() -> None:
    images = random_images(4)
    first = pipeline(images, augment_of("crop_flip"), normalise="mean_image")
    make = partial(Pipeline, images, augment=first.augment, normalise="mean_image")
    labels = np.ones(4, np.int64)
    second, alone = make(labels, like=first), make(labels)
    assert second._packed.data_ptr() == first._packed.data_ptr()
    draws = alone.draw_epoch(1, 4, generator(), generator(1))
    x_alone, x_second = (one.gather(draws.index, draws.params) for one in (alone, second))
    assert torch.equal(x_alone, x_second)
    assert torch.equal(alone.normalise_eval(images), second.normalise_eval(images))
    second.labels.zero_()
    assert torch.equal(alone.labels, torch.ones(4, dtype=torch.int64))
    assert labels.all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("augment", [augment_of("none"), augment_of("crop_flip"), AFFINE])
def test_gather_on_cuda_equals_cpu_also_when_captured(augment: Augment) -> None:
    images = random_images(200)
    cpu = pipeline(images, augment, normalise="mean_image")
    cuda = pipeline(images, augment, normalise="mean_image", device="cuda")
    draws = cpu.draw_epoch(3, 64, generator(), generator(1))
    on_cuda = cuda.draw_epoch(3, 64, generator(), generator(1))
    index, params = on_cuda.index[:64].clone(), on_cuda.params[:64].clone()
    cuda.gather(index, params)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = cuda.gather(index, params)
    tolerance = 1e-4 if augment.kind == "affine" else 0.0
    for start in (0, 64, 128):
        part = slice(start, start + 64)
        expected = cpu.gather(draws.index[part], draws.params[part])
        index.copy_(on_cuda.index[part])
        params.copy_(on_cuda.params[part])
        graph.replay()
        for x in (captured, cuda.gather(index, params)):
            torch.testing.assert_close(x.cpu(), expected, atol=tolerance, rtol=0)
