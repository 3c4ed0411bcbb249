"""The fixed-matrix form of bilinear up-sampling equals torch's, and repeats bit for bit."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from resbench.models.attention import interpolation_matrix, upsample_bilinear

sizes = st.integers(1, 33)
formats = st.sampled_from([torch.contiguous_format, torch.channels_last])


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, sizes, sizes, formats, st.integers(0, 2**32))
def test_equals_torch_s_bilinear_forward_and_backward(
    h: int, w: int, H: int, W: int, memory_format: torch.memory_format, seed: int
) -> None:
    torch.manual_seed(seed)
    x = torch.rand(2, 3, h, w).to(memory_format=memory_format).requires_grad_()
    gradient = torch.rand(2, 3, H, W).to(memory_format=memory_format)
    y = upsample_bilinear(x, (H, W))
    reference = F.interpolate(x, (H, W), mode="bilinear", align_corners=True)
    torch.testing.assert_close(y, reference, rtol=0, atol=1e-12)
    (ours,) = torch.autograd.grad(y, x, gradient)
    (theirs,) = torch.autograd.grad(reference, x, gradient)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)


@pytest.mark.parametrize("h", [2, 4, 8, 16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_fp32_agrees_to_1e_6_at_the_sizes_of_the_networks_and_keeps_the_memory_format(
    h: int, memory_format: torch.memory_format
) -> None:
    x = torch.rand(4, 8, h, h, dtype=torch.float32).to(memory_format=memory_format)
    y = upsample_bilinear(x, (2 * h, 2 * h))
    # In float64: torch's own positions are no better than 1e-6 in float32.
    exact = F.interpolate(x.double(), scale_factor=2.0, mode="bilinear", align_corners=True)
    assert (y - exact).abs().max() <= 1e-6
    assert y.is_contiguous(memory_format=memory_format)


def test_backward_repeats_bit_for_bit_under_deterministic_algorithms() -> None:
    x = torch.randn(8, 16, 8, 8, dtype=torch.float32)
    x = x.to(memory_format=torch.channels_last).requires_grad_()
    gradient = torch.randn(8, 16, 16, 16, dtype=torch.float32)
    torch.use_deterministic_algorithms(True)
    try:
        runs = [torch.autograd.grad(upsample_bilinear(x, (16, 16)), x, gradient)[0] for _ in "ab"]
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(*runs)


def test_a_matrix_first_used_in_evaluation_still_serves_training() -> None:
    x = torch.randn(1, 2, 5, 11)
    with torch.inference_mode():
        upsample_bilinear(x, (13, 29))
    x.requires_grad_()
    upsample_bilinear(x, (13, 29)).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_no_row_is_brighter_than_another(dtype: torch.dtype) -> None:
    for size_in, size_out in ((1, 2), (2, 4), (4, 8), (8, 16), (16, 32), (5, 13), (33, 7)):
        matrix = interpolation_matrix(size_in, size_out, dtype).double()
        exact = interpolation_matrix(size_in, size_out, torch.float64)
        assert (matrix.sum(1) == 1).all()
        assert ((matrix > 0) <= (exact > 0)).all()
        assert (matrix - exact).abs().max() <= torch.finfo(dtype).eps / 4


def test_half_precision_stays_half_precision_and_close() -> None:
    x = torch.rand(2, 4, 8, 8)
    y = upsample_bilinear(x.bfloat16(), (16, 16))
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), upsample_bilinear(x, (16, 16)), rtol=0, atol=0.02)
