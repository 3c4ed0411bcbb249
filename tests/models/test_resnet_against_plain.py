"""ResNet-164 against a second, plain implementation that shares no code with the package."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from resbench.models import build
from resbench.models.layers import initialize

Weights = dict[str, Tensor]


def norm_relu(w: Weights, name: str, x: Tensor, training: bool) -> Tensor:
    mean, var = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    if training:
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
    scale = w[f"{name}.weight"] / (var + 1e-5).sqrt()
    shift = w[f"{name}.bias"] - mean * scale
    return torch.clamp(x * scale[:, None, None] + shift[:, None, None], min=0)


def plain_resnet_164(w: Weights, x: Tensor, training: bool) -> Tensor:
    x = F.conv2d(x, w["stem.weight"], padding=1)
    for stage in (1, 2, 3):
        for unit in range(18):
            at, stride = f"stage{stage}.{unit}", 2 if stage > 1 and unit == 0 else 1
            a = norm_relu(w, f"{at}.norm1", x, training)
            y = F.conv2d(a, w[f"{at}.conv1.weight"])
            y = norm_relu(w, f"{at}.norm2", y, training)
            y = F.conv2d(y, w[f"{at}.conv2.weight"], padding=1, stride=stride)
            y = norm_relu(w, f"{at}.norm3", y, training)
            y = F.conv2d(y, w[f"{at}.conv3.weight"])
            if unit == 0:
                x = F.conv2d(a, w[f"{at}.shortcut.weight"], stride=stride)
            x = x + y
    x = norm_relu(w, "norm", x, training)
    return x.sum((2, 3)) / x[0, 0].numel() @ w["fc.weight"].T + w["fc.bias"]


def test_resnet_164_equals_a_plain_implementation_to_1e_6() -> None:
    model = build("he2016", "resnet-164")
    initialize(model, "he", torch.Generator().manual_seed(5))
    images = torch.randn(2, 3, 32, 32)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        trained, plain = model(images), plain_resnet_164(weights, images, training=True)
        torch.testing.assert_close(trained, plain, rtol=1e-6, atol=1e-6)
        evaluated = model.eval()(images)
        plain = plain_resnet_164(dict(model.state_dict()), images, training=False)
        torch.testing.assert_close(evaluated, plain, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(trained, evaluated)
