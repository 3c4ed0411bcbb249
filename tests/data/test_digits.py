import gzip
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from resbench.data import digits
from resbench.data.digits import read_digits
from resbench.errors import EnvironmentFault
from tests.data.archives import in_order


def test_digits_are_those_of_scikit_learn() -> None:
    images, reference = read_digits(), load_digits()
    is_test = np.arange(1797) % 5 == 4
    for split, rows in (("train", ~is_test), ("test", is_test)):
        levels = np.floor(reference.images[rows] * 255 / 16 + 0.5).astype(np.uint8)
        large = np.kron(levels[..., None], np.ones((1, 2, 2, 3), np.uint8))
        pixels, labels = in_order(large, reference.target[rows])
        np.testing.assert_array_equal(getattr(images, f"{split}_images"), pixels)
        np.testing.assert_array_equal(getattr(images, f"{split}_labels"), labels)
    assert images.train_images.shape == (1438, 16, 16, 3)
    assert images.test_images.shape == (359, 16, 16, 3)


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"\x1f\x8b damaged",
        *(gzip.compress(text, mtime=0) for text in (b"1,2\n3\n", b"1,2\n")),
    ],
)
def test_damaged_file_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    path = tmp_path / "datasets" / "data" / "digits.csv.gz"
    path.parent.mkdir(parents=True)
    if content is not None:
        path.write_bytes(content)
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(digits.importlib.util, "find_spec", lambda _: spec)
    with pytest.raises(EnvironmentFault, match="not scikit-learn's digits"):
        read_digits()
