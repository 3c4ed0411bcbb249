"""A family of one's own: one Python file next to the suite, and nothing of resbench edited."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load
from torch import Tensor

from resbench.errors import UsageError
from resbench.models import build, own_family
from resbench.models.count import count_parameters
from resbench.store.records import RunRecord, read_record
from resbench.suite.expand import Context, DataChoice, Expanded, expand
from resbench.suite.load import load_suite
from resbench.suite.spec import key_of
from resbench.suite.yaml import DocumentError
from resbench.train.attempt import Attempt

from ..mini import changed, job_of, names_of, resbench, run_folders, suite_of, write_suite
from ..train.live import Worker, lane_of, train_epoch

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


def toy_with(head: str, layers: str) -> str:
    """The file with definitions of its own, and with ``layers`` before the last two."""
    text = TOY.replace("    return nn", f"{head}\n    return nn")
    return text.replace("GlobalMean(),", f"{layers}, GlobalMean(),")


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


class Trained(NamedTuple):
    """How the only run of a suite has ended, and its final weights."""

    status: str
    text: str
    record: RunRecord | None
    weights: dict[str, Tensor]
    epochs: list[int]


def trained(
    folder: Path, text: str, changes: Mapping[str, Any] | None = None, **options: Any
) -> Trained:
    """Train the run of a suite with these changes whose ``networks.py`` is this text."""
    file = folder / "networks.py"
    file.write_text(text)
    spec = expanded(folder, changed(toy_suite(**options), changes or {})).cell("arl").at_seed(1)
    worker = Worker(folder / "results")
    ((_, status, said),) = worker.run(spec, networks=file, keep_weights=True)
    run = worker.folder(spec)
    if status != "done":
        return Trained(status, said, None, {}, worker.epochs())
    weights = load(run.weights.read_bytes())
    return Trained(status, said, read_record(run), weights, worker.epochs())


def test_an_option_may_be_any_value_that_json_can_hold(tmp_path: Path) -> None:
    more = "    sizes: list[int]\n    rates: dict[int, float]\n    kinds: set[str]\n"
    text = TOY.replace("    kernel: int\n", f"    kernel: int\n{more}")
    kinds = list("hgfedcba")
    done = trained(tmp_path, text, sizes=[1, 2], rates={"9": 0.5, "10": 1.5}, kinds=kinds)
    assert (done.status, done.text) == ("done", "")
    assert done.record is not None
    assert done.record.spec["model"]["kinds"] == sorted(kinds)
    assert done.record.key == key_of(done.record.spec), "whatever the order of a set"
    assert done.record.model.parameters == 3 * 8 * 9 + 2 * 8 + 8 * 10 + 10


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("return nn.", "nn.", "networks.py: build returns NoneType, not an nn.Module"),
        ("BNReLU(c, settings)", "nn.BatchNorm2d(c)",
         "networks.py: '1' has eps 1e-05 and momentum 0.1, the run 0.5 and 0.1. Build it with"),
        ("BNReLU(c, settings)", "nn.BatchNorm2d(c, settings.bn_eps, 0.3)",
         "networks.py: '1' has eps 0.5 and momentum 0.3, the run 0.5 and 0.1. Build it with"),
        ("nn.Linear(c, num_classes)", "nn.Linear(c, 20)",
         "networks.py: for 2 images it returns (2, 20), not logits of (2, 10)"),
        ("", "", ""),
    ],
)  # fmt: skip
def test_a_network_that_is_not_what_its_run_says_fails_before_it_is_trained(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    text = TOY.replace(old, new) if old else TOY
    found = trained(tmp_path, text, {"base.training.bn_eps": 0.5})
    assert (found.status, bool(found.epochs)) == (("failed", False) if said else ("done", True))
    assert said in found.text


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ("Alone(), nn.AdaptiveAvgPool2d(1), nn.Flatten()", "no convolution or linear layer of it"),
        ("conv(3, 10, 1), nn.Flatten(2), nn.InstanceNorm1d(10), Pair()", "a pair"),
    ],
)
def test_a_network_that_cannot_be_counted_fails_before_it_is_trained(
    tmp_path: Path, layers: str, said: str
) -> None:
    head = """\
    class Alone(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(10, 1, 1))

        def forward(self, x):
            return x[:, :1] * self.scale

    class Pair(nn.Module):
        def forward(self, x):
            assert len(x) > 1, "a pair"
            return x.mean(2)

"""
    text = TOY.replace(
        "    from torch import nn\n", f"    import torch\n    from torch import nn\n{head}"
    )
    start = text.index("    return nn.Sequential(")
    text = f"{text[:start]}    return nn.Sequential({layers})\n\n\nFAMILY = Family(Toy, build)\n"
    failed = trained(tmp_path, text)
    assert (failed.status, failed.epochs) == ("failed", [])
    assert said in failed.text


def test_a_network_may_keep_what_it_computes_and_use_a_layer_twice(tmp_path: Path) -> None:
    head = """\
    import torch

    class Kept(nn.Module):
        ones = None

        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            if self.ones is None:
                self.ones = torch.ones(x.shape[1:])
            return x * self.ones

    twice = conv(c, c, 1)
"""
    done = trained(tmp_path, toy_with(head, "twice, twice, Kept()"))
    assert (done.status, done.text) == ("done", "")
    assert "2.weight" in done.weights
    assert "3.weight" not in done.weights
    assert done.weights["4.calls"] == 4 + 1, "steps and a test batch; what checks is a copy"


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("assert self.kernel % 2, 'must be odd'", "AssertionError: must be odd."),
        ("assert self.kernel % 2", "AssertionError: a rule in networks.py refuses it."),
        ("{}[self.kernel]", "KeyError: "),
        ("if self.kernel == 4: raise ValueError", "'model': a rule in networks.py refuses it."),
        ("if self.kernel == 4: raise ValueError('odd')", "'model': odd."),
        ("if self.kernel == 4: raise ValueError('odd', 'kernel')", "'kernel' in 'model': odd."),
        ("if self.kernel == 4: raise ValueError('odd', [1])", "'model': odd."),
    ],
)
def test_a_rule_of_the_user_s_own_is_an_error_at_the_line_of_the_model(
    tmp_path: Path, rule: str, said: str
) -> None:
    rule = f"    kernel: int\n\n    def __post_init__(self):\n        {rule}\n"
    (tmp_path / "networks.py").write_text(TOY.replace("    kernel: int\n", rule))
    for more in ({}, {"base.data.image_px": "eight"}):
        with pytest.raises(DocumentError, match=r"mini\.yaml:\d+:\d+: ") as error:
            expanded(tmp_path, changed(toy_suite(kernel=4), more))
        assert said in str(error.value)


def test_every_weight_of_a_network_is_that_of_its_seed(tmp_path: Path) -> None:
    head = """\
    import torch

    class Drawn(nn.Module):
        def __init__(self):
            super().__init__()
            self.own = nn.Parameter(torch.randn(c))
            self.up = nn.ConvTranspose2d(c, c, 1)

        def forward(self, x):
            return self.up(x) * self.own[:, None, None]
"""
    (tmp_path / "networks.py").write_text(toy_with(head, "Drawn()"))
    cell = expanded(tmp_path, toy_suite()).cell("arl")

    def weights(seed: int, before: int) -> dict[str, Tensor]:
        torch.manual_seed(before)  # whatever the process drew
        lane = lane_of(cell.at_seed(seed))
        assert torch.initial_seed() == before, "the build's draws are its own"
        return lane.model.state_dict()

    first, again, other = weights(1, 5), weights(1, 6), weights(2, 5)
    for name in ("2.own", "2.up.weight", "0.weight"):
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])


def test_the_size_in_a_record_is_that_of_the_network_that_was_trained(tmp_path: Path) -> None:
    """Also where a network draws its shape: each seed has another."""
    text = TOY.replace("settings.channels(8)", "__import__('random').randint(1, 1000)")
    (tmp_path / "networks.py").write_text(text)
    cell = expanded(tmp_path, toy_suite()).cell("arl")
    worker, sizes = Worker(tmp_path / "results"), []
    for spec in map(cell.at_seed, (1, 2, 3)):
        job = job_of(spec, worker.results, networks=tmp_path / "networks.py")
        lane = lane_of(spec)
        attempt = Attempt(job, worker.folder(spec), lane, lambda _event: None)
        sizes.append(count_parameters(lane.model))
        assert attempt.model.parameters == sizes[-1]
    assert len(set(sizes)) == 3


def test_what_a_network_draws_in_training_is_that_of_the_seed_and_the_epoch(tmp_path: Path) -> None:
    head = """\
    import random

    import numpy as np

    class Dropped(nn.Module):
        def forward(self, x):
            return x * random.random() + np.random.rand()
"""
    (tmp_path / "networks.py").write_text(toy_with(head, "Dropped()"))
    spec = expanded(tmp_path, toy_suite()).cell("arl").at_seed(1)
    lanes = [lane_of(spec), lane_of(spec)]
    losses = [train_epoch(lane, epoch) for epoch in (1, 2) for lane in lanes]
    assert losses[0] == losses[1]
    assert losses[2] == losses[3]


def test_another_version_of_the_file_is_another_experiment(tmp_path: Path) -> None:
    keys = []
    for text in (TOY, f"{TOY}# changed\n", TOY):
        (tmp_path / "networks.py").write_text(text)
        keys.append(expanded(tmp_path, toy_suite()).cell("arl").at_seed(1).key)
    assert keys[0] == keys[2] != keys[1]


def test_each_version_of_the_file_builds_its_own_network(tmp_path: Path) -> None:
    file, first_layers = tmp_path / "networks.py", []
    for channels in (8, 16, 8):
        file.write_text(TOY.replace("channels(8)", f"channels({channels})"))
        code = own_family(file).code
        model = build("toy", "toy-2", kernel=3, code=code)
        first_layers.append(next(model.parameters()).shape[0])
    assert first_layers == [8, 16, 8]


def test_the_file_may_look_up_what_any_module_can(tmp_path: Path) -> None:
    file = tmp_path / "networks.py"
    text = TOY.replace("toy-2", "toy-3").replace("\n\n\nclass", "\n\nHERE = __file__\n\n\nclass")
    file.write_text(f"from __future__ import annotations\n\n{text}")
    assert names_of(own_family(file)) == ("toy-3",)


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
        ("import os\nimport torchh\n", ":2: cannot use these networks: ModuleNotFoundError: "),
        ("def build(:\n", ":1: cannot use these networks: SyntaxError: invalid syntax"),
        ("\n\nraise SystemExit(3)\n", ":3: cannot use these networks: SystemExit: 3."),
        ("FAMILY = 3\n", ":1: cannot use these networks: it has no FAMILY, an instance of"),
        *(
            (
                TOY.replace("kernel: int", f"kernel: int\n    {name}: float"),
                f":1: cannot use these networks: '{name}' cannot be the name of an option",
            )
            for name in ("bn_eps", "bn_momentum", "code", "num_classes")
        ),
        (
            TOY.replace("kernel: int", "kernel: int = 3"),
            ":1: cannot use these networks: 'kernel' has",
        ),
        *(
            (TOY.replace('tag="toy", ', tag), "use small letters, digits, - and _")
            for tag in ("", 'tag="a b", ')
        ),
        (TOY.replace('"toy"', '"he2016"'), "'he2016' is a family of resbench: give it another tag"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "networks.py").write_text(text)
    with pytest.raises(UsageError, match=r"^[^\n]*networks\.py:[^\n]+$") as error:
        expanded(tmp_path, toy_suite())
    assert message in str(error.value)
