"""scikit-learn's bundled handwritten digits as a small data set of real images.

1,797 scans of 8x8 px with 17 grey levels (Alpaydin and Kaynak, 1998, UCI repository).
"""

from __future__ import annotations

import gzip
import importlib.util
import io
from pathlib import Path

import numpy as np

from resbench.data.images import Images
from resbench.errors import EnvironmentFault


def read_digits() -> Images:
    """Return the digits as RGB of 16x16 px, nearest neighbour, every fifth image for testing.

    Grey levels 0..16 become 0..255. Raises EnvironmentFault if the file is missing.
    """
    # Not sklearn.datasets.load_digits: its import takes seconds, this takes milliseconds.
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise EnvironmentFault("scikit-learn is not installed. Install resbench's dependencies.")
    path = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    try:
        text = gzip.decompress(path.read_bytes()).decode("ascii")
        table = np.loadtxt(io.StringIO(text), delimiter=",", dtype=np.int64)
        grey, labels = table[:, :-1].reshape(-1, 8, 8), table[:, -1]
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise EnvironmentFault(f"{path}: not scikit-learn's digits: {error}.") from error
    levels = ((grey * 255 + 8) // 16).astype(np.uint8)
    large = levels.repeat(2, axis=1).repeat(2, axis=2)
    images = np.repeat(large[..., None], 3, axis=3)
    test = np.arange(len(labels)) % 5 == 4
    return Images(images[~test], labels[~test], images[test], labels[test], 10, tuple("0123456789"))
