"""torchvision serves its data sets even where it was built for another torch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from resbench.data import archives
from resbench.errors import EnvironmentFault

IMPORT = "from resbench.data.archives import torchvision_datasets\n"


def python(code: str, *first: Path) -> str:
    """What this code prints, without a warning, where packages in ``first`` come before others."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, first), *sys.path])}
    shown = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=environment
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    return shown.stdout


def test_installed_torchvision_serves_its_datasets_silently() -> None:
    assert python(f"{IMPORT}torchvision_datasets().CIFAR10\n") == ""


def test_operators_are_declared_where_torchvision_fails_for_want_of_them(tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    registers = "import torch\ntorch.library.register_fake('torchvision::nms')(lambda *a: a[0])\n"
    (tmp_path / "torchvision" / "__init__.py").write_text(registers)
    (tmp_path / "torchvision" / "datasets.py").touch()
    control = "try: import torchvision\nexcept RuntimeError as error: print(error)\n"
    used = "import torch; torch.ops.torchvision.nms, torch.ops.torchvision.qnms\n"
    shown = python(f"{control}{IMPORT}print(torchvision_datasets().__name__)\n{used}", tmp_path)
    assert shown == "operator torchvision::nms does not exist\ntorchvision.datasets\n"


def test_absent_torchvision_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(EnvironmentFault, match="torchvision is not installed"):
        archives.torchvision_datasets.__wrapped__()
