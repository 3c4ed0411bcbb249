"""A family of one's own: one Python file next to the suite, and nothing of resbench edited."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from resbench.errors import UsageError
from resbench.suite.expand import Context, DataChoice, Expanded, expand
from resbench.suite.load import load_suite
from resbench.suite.yaml import DocumentError

from ..mini import changed, resbench, run_folders, suite_of, write_suite

TOY = """\
from typing import Literal

from resbench.models import Family, Network


class Toy(Network, tag="toy", frozen=True):
    name: Literal["toy-2"]
    kernel: int


def build(network, num_classes, settings):
    from torch import nn

    from resbench.models.layers import BNReLU, GlobalMean, conv

    c = settings.channels(8)
    return nn.Sequential(
        conv(3, c, network.kernel), BNReLU(c, settings), GlobalMean(), nn.Linear(c, num_classes)
    )


FAMILY = Family(Toy, build)
"""


def toy_suite(**model: Any) -> dict[str, Any]:
    suite = suite_of(total=1)
    whole = {"family": "toy", "name": "toy-2", "kernel": 3, "width": 1.0, **model}
    wider = {"wide": {"label": "5x5", "set": {"model.kernel": 5}}, "arl": {"label": "3x3"}}
    return changed(suite, {"base.model": whole, "matrix.learning": wider})


def expanded(folder: Path, suite: dict[str, Any]) -> Expanded:
    data = {"digits": DataChoice("digits", "digits", "sha256:0")}
    return expand(load_suite(str(write_suite(folder, suite))), Context("eager", "fp32", data))


def test_a_family_next_to_its_suite_trains_and_is_reported_as_the_user_s_own(
    tmp_path: Path,
) -> None:
    (tmp_path / "networks.py").write_text(TOY)
    write_suite(tmp_path, toy_suite())
    for words in (["validate"], ["plan"], ["run", "--no-mirror"]):
        done = resbench(tmp_path, *words, "mini.yaml")
        assert (words, done.returncode) == (words, 0), done.stderr
    assert resbench(tmp_path, "verify").stdout.startswith("2 records verified, 0 problems")
    for run in run_folders(tmp_path / "results"):
        model = json.loads(run.spec.read_text())["spec"]["model"]
        assert model.pop("kernel") in (3, 5)
        code = hashlib.sha256(TOY.encode()).hexdigest()
        assert model == {"family": "toy", "name": "toy-2", "width": 1.0, "code": code}
    report = resbench(tmp_path, "report", "mini.yaml", "--format", "markdown").stdout
    assert "a network of the user's own" in report
    again = resbench(tmp_path, "run", "mini.yaml", "--no-mirror")
    assert (again.returncode, "2 runs recorded" in again.stderr) == (0, True), again.stderr


def test_a_network_that_is_not_what_its_run_says_is_no_result(tmp_path: Path) -> None:
    write_suite(tmp_path, changed(toy_suite(), {"base.training.bn_eps": 0.5}))
    for old, new, said in (
        ("BNReLU(c, settings)", "nn.BatchNorm2d(c)",
         "networks.py: '1' has eps 1e-05 and momentum 0.1, the run 0.5 and 0.1. Build it with"),
        ("nn.Linear(c, num_classes)", "nn.Linear(c, 20)",
         "networks.py: for 2 images it returns (2, 20), not logits of (2, 10)"),
        ("", "", ""),
    ):  # fmt: skip
        (tmp_path / "networks.py").write_text(TOY.replace(old, new) if old else TOY)
        done = resbench(tmp_path, "run", "mini.yaml", "--cell", "arl", "--no-mirror")
        assert done.returncode == (1 if said else 0), done.stderr
        assert said in done.stderr
        assert ("FAILED" in done.stderr) == bool(said)


def test_another_version_of_the_file_is_another_experiment(tmp_path: Path) -> None:
    keys = []
    for text in (TOY, f"{TOY}# changed\n", TOY):
        (tmp_path / "networks.py").write_text(text)
        keys.append(expanded(tmp_path, toy_suite()).cell("arl").at_seed(1).key)
    assert keys[0] == keys[2] != keys[1]


def test_only_the_file_next_to_a_suite_that_asks_for_it_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far = tmp_path / "near", tmp_path / "far"
    near.mkdir()
    far.mkdir()
    for folder in (near, far, tmp_path):
        (folder / "networks.py").write_text("raise RuntimeError('run')")
    monkeypatch.chdir(far)
    assert expanded(near, suite_of()).cells, "networks of resbench: nothing is run"
    (near / "networks.py").unlink()
    with pytest.raises(DocumentError, match="'family' in 'model' cannot be 'toy'"):
        expanded(near, toy_suite())


def test_options_are_checked_in_their_place(tmp_path: Path) -> None:
    (tmp_path / "networks.py").write_text(TOY)
    with pytest.raises(DocumentError) as error:
        expanded(tmp_path, toy_suite(kernel="three", kernal=3))
    text = str(error.value)
    assert "'kernel' in 'model' must be a whole number, not the text 'three'." in text
    assert "unknown key 'kernal' in 'model'. Did you mean 'kernel'?" in text
    assert text.count("mini.yaml:") == 2
    with pytest.raises(DocumentError, match=r"cannot be 'toys'\. Did you mean 'toy'"):
        expanded(tmp_path, toy_suite(family="toys"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "import os\nimport torchh\n",
            ":2: cannot use these networks: ModuleNotFoundError: ",
        ),
        ("def build(:\n", ":1: cannot use these networks: SyntaxError: invalid syntax"),
        ("\n\nraise SystemExit(3)\n", ":3: cannot use these networks: SystemExit: 3."),
        ("FAMILY = 3\n", ":1: cannot use these networks: it has no FAMILY, an instance of"),
        (TOY.replace('"toy"', '"he2016"'), "'he2016' is a family of resbench: give it another tag"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "networks.py").write_text(text)
    with pytest.raises(UsageError, match=r"^[^\n]*networks\.py:[^\n]+$") as error:
        expanded(tmp_path, toy_suite())
    assert message in str(error.value)
