import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from resbench.data import archives
from resbench.errors import EnvironmentFault

COMPAT = "from resbench.data.archives import _declared, torchvision_datasets\n"
RESULT = "print(torchvision_datasets().__name__, len(_declared))\n"


def python(code: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    shadowed = os.pathsep.join([*([str(path)] if path else []), *sys.path])
    environment = {**os.environ, "PYTHONPATH": shadowed}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=environment
    )


def fake_torchvision(folder: Path, code: str) -> Path:
    """A package that fails on import, as torchvision does, unless its operators are there."""
    package = folder / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(code)
    (package / "datasets.py").touch()
    return package


def test_installed_torchvision_serves_its_datasets_silently() -> None:
    shown = python(COMPAT + "torchvision_datasets().CIFAR10\n")
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, "", "")


REGISTERS = "import torch\ntorch.library.register_fake('torchvision::nms')(lambda *a: a[0])\n"


def test_operators_are_declared_where_the_library_cannot_be_loaded(tmp_path: Path) -> None:
    package = fake_torchvision(tmp_path, REGISTERS)
    (package / "_C.so").write_bytes(b"built for another torch")
    control = "try: import torchvision\nexcept RuntimeError as error: print(error)\n"
    used = "import torch; torch.ops.torchvision.nms, torch.ops.torchvision.qnms\n"
    shown = python(control + COMPAT + RESULT + used, tmp_path)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout == "operator torchvision::nms does not exist\ntorchvision.datasets 1\n"


def test_nothing_is_declared_where_the_operators_are_there(tmp_path: Path) -> None:
    package = fake_torchvision(tmp_path, REGISTERS)
    loadable = Path(torch.__file__).parent / "lib" / "libtorch_global_deps.so"
    (package / "_C.so").symlink_to(loadable)
    there = (
        "import torch\nlibrary = torch.library.Library('torchvision', 'DEF')\n"
        "library.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
    )
    shown = python(there + COMPAT + RESULT, tmp_path)
    assert (shown.returncode, shown.stderr, shown.stdout) == (0, "", "torchvision.datasets 0\n")


def test_absent_torchvision_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EnvironmentFault, match="torchvision is not installed"):
        archives.torchvision_datasets.__wrapped__()
