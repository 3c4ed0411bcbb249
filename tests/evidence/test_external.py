"""What the suites' footnotes say of networks that others trained follows from their predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

SUITES = Path(__file__).resolve().parents[2] / "suites"


@pytest.mark.parametrize(
    ("network", "suite"),
    [("resnet_preact_bottleneck_164", "resnet164_he2016"), ("wrn_28_10", "depth")],
)
def test_errors_of_others_are_recomputed_from_their_predictions(
    shared_data: Path, network: str, suite: str
) -> None:
    path = shared_data / "external-cifar10-predictions.npz"
    if not path.is_file():
        pytest.skip(f"no predictions of others: {path} is absent")
    with np.load(path) as predictions:
        wrong = int((predictions[network] != predictions["label"]).sum())
    low, high = binomtest(wrong, 10_000).proportion_ci(method="wilson")
    text = " ".join((SUITES / f"{suite}.yaml").read_text().split())
    assert f"on {wrong / 100:.2f} % of the CIFAR-10 test images" in text
    assert f"(95 % Wilson interval {100 * low:.2f} to {100 * high:.2f})" in text
