"""The report's units compute what their definitions say, in a form that shares no layer with them.

Of the bottleneck of He et al. 2016 a whole network is compared so, in tests/train.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resbench.models import build
from resbench.models.layers import InceptionUnit, ReportUnit, ResidualUnit, Settings

SIZES = (6, 4, 10)
"""Channels of the input, of the bottleneck and of the output."""


class Plain:
    """Layers of a unit by name, on a dictionary of its parameters, all of which are random."""

    def __init__(self, unit: nn.Module) -> None:
        for parameter in unit.parameters():
            nn.init.uniform_(parameter, -1.0, 1.0)
        self.weights = dict(unit.named_parameters())

    def norm_relu(self, x: Tensor, name: str) -> Tensor:
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
        x = (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
        x = x * self.weights[f"{name}.weight"][:, None, None]
        return torch.clamp(x + self.weights[f"{name}.bias"][:, None, None], min=0)

    def conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self.weights[f"{name}.weight"]
        bias, pad = self.weights[f"{name}.bias"], len(weight[0, 0]) // 2
        return F.conv2d(x, weight, bias, stride, pad)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_unit_of_the_report_adds_a_convolution_of_its_raw_input(stride: int) -> None:
    unit, x = ReportUnit(*SIZES, stride, Settings()), torch.randn(3, 6, 8, 8)
    plain = Plain(unit)
    y = plain.conv(plain.norm_relu(x, "residual.0"), "residual.1")
    y = plain.conv(plain.norm_relu(y, "residual.2"), "residual.3", stride)
    y = plain.conv(plain.norm_relu(y, "residual.4"), "residual.5")
    torch.testing.assert_close(unit(x), y + plain.conv(x, "shortcut", stride))
    kernels = [weight.shape[2] for weight in plain.weights.values() if weight.dim() == 4]
    assert kernels == [1, 3, 1, 1]


@pytest.mark.parametrize("stride", [1, 2])
def test_an_inception_unit_projects_a_1x1_a_3x3_and_a_double_1x1(stride: int) -> None:
    unit, x = InceptionUnit(*SIZES, stride, Settings()), torch.randn(3, 6, 8, 8)
    plain = Plain(unit)
    a = plain.norm_relu(x, "norm")
    double = plain.norm_relu(plain.conv(a, "branch11.0", stride), "branch11.1")
    branches = plain.conv(a, "branch1", stride), plain.conv(a, "branch3", stride)
    y = torch.cat([*branches, plain.conv(double, "branch11.2")], dim=1)
    y = plain.conv(plain.norm_relu(y, "project.0"), "project.1")
    torch.testing.assert_close(unit(x), y + plain.conv(x, "shortcut", stride))
    kernels = {n.split(".")[0]: w.shape[2] for n, w in plain.weights.items() if w.dim() == 4}
    assert kernels == {"branch1": 1, "branch3": 3, "branch11": 1, "project": 1, "shortcut": 1}


def test_a_network_of_inception_units_has_no_other_ones() -> None:
    with torch.device("meta"):
        model = build("report2019", "attention-56", unit="inception")
    kinds = {type(part) for part in model.modules() if isinstance(part, ResidualUnit)}
    assert kinds == {InceptionUnit}
