"""A mistake is one line that says what and what to do, and an exit code; never a traceback."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Any

import pytest

from ..mini import changed, suite_of, write_suite
from .invoke import Outcome, Shell

Patch = pytest.MonkeyPatch
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: Patch, capsys: Capture) -> Shell:
    """In a working directory with the mini suite and a tier, and without a folder named."""
    write_suite(tmp_path)
    (tmp_path / "tiers").mkdir()
    (tmp_path / "tiers" / "large.yaml").write_text(
        "version: 1\nname: large\ntitle: Large\ndescription: Large.\n"
        "set: {data.train_images: 3000}\n"
        "families: {wang2017: {}, he2016: {}, report2019: {}}\n"
    )
    monkeypatch.chdir(tmp_path)
    return Shell(capsys, None)


READING = ("report", "status", "explain table3_mask local", "compare cpu tiny", "verify",
           "pack out.tar", "sync")  # fmt: skip


def check(outcome: Outcome, code: int, *texts: str) -> None:
    assert (outcome.code, outcome.out) == (code, "")
    (line,) = outcome.err.splitlines()
    assert not line.endswith("..")
    for text in texts:
        assert text in line


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        ("rn mini.yaml", ["unknown command 'rn'. Did you mean 'run'?"]),
        ("run", ["resbench run: Missing argument 'SUITE...'."]),
        ("run mini.yaml --sedes 3", ["No such option", "--seeds", "See `resbench run --help`."]),
        ("report smoke --tier cpu", ["no --tier here: report takes the runs of every tier."]),
        ("models --tier cpu", ["resbench models: No such option", "--tier", "See `resbench m"]),
        ("run smok", ["unknown suite 'smok'. Did you mean 'smoke'?", "by its file"]),
        ("run none.yaml", ["none.yaml: no such suite file. Shipped suites:"]),
        ("run .", [".: a folder. Name a suite in it: mini.yaml"]),
        ("run mini.yaml --cell", ["resbench run: Option '--cell'", "See `resbench run --help`."]),
        ("run mini.yaml --tier tny", ["unknown tier 'tny'. Did you mean 'tiny'?"]),
        ("run mini.yaml --cell ar", ["--cell ar: unknown cell. Did you mean 'arl'?"]),
        ("run mini.yaml --seeds 1-3", ["--seeds 1-3: give how many"]),
        ("run mini.yaml --devices gpu", ["--devices gpu: unknown device. Use auto, cpu,"]),
        ("run mini.yaml -j 0", ["Invalid value for '-j'"]),
        ("plan mini.yaml --format csv", ["'csv' is not one of 'text', 'markdown'"]),
        ("run mini.yaml --engine graph", ["--engine graph: CUDA graphs need a GPU."]),
        ("run mini.yaml --precision bf16", ["--precision bf16: needs a GPU. Use --precision fp32"]),
        ("run mini.yaml --pack 2", ["--pack 2: needs a GPU. Leave --pack out."]),
        ("run mini.yaml --engine fast", ["Invalid value for '--engine': 'fast' is not one of"]),
        ("run mini.yaml --precision fp8", ["Invalid value for '--precision'"]),
        ("run mini.yaml --budget soon", ["--budget soon: give a duration like 90s, 9m or 1h30m."]),
        ("run mini.yaml --set training.optim.lr=1 --set training.optim.lr=2",
         ["--set training.optim.lr: is given twice. Leave one out."]),
        ("run smoke --set data.first=99999", ["data.first (command line): digits has 1,438"]),
        ("plan table5_architecture --cell none", ["--cell none: unknown cell."]),
        ("run mini.yaml --set lr", ["--set lr: must be KEY=VALUE"]),
        ("run mini.yaml --set training.lr=1", ["--set training.lr: unknown setting."]),
        ("run smoke --set data.train_images=1271", ["digits does not have 1,271 such images."]),
        ("plan mini.yaml --tier large",
         ["large.yaml:5:7: data.train_images (tier large): digits does not have 3,000 such"]),
        ("run mini.yaml --set training.optim.lr=NaN", ["--set training.optim.lr: 'lr' in"]),
        ("run mini.yaml --set data.name=cifar11", ["--set data.name:", "Did you mean 'cifar10'?"]),
        ("run mini.yaml --set model.name=attention-57", ["--set model.name:", "attention-56"]),
        ("run mini.yaml --data cifar11=x", ["unknown data set 'cifar11'. Did you mean 'cifar10'?"]),
        ("run mini.yaml --data digits", ["--data 'digits': expected NAME=PATH"]),
        ("report smoke --output x.docx", ["x.docx: unknown format .docx. Use .txt, .md,"]),
        ("report smoke --output x.csv --format json", ["x.csv: the suffix means csv, but"]),
        ("report smoke --format exel", ["Invalid value for '--format': 'exel' is not one of"]),
        ("data fetch cifra10", ["unknown data set 'cifra10'. Did you mean 'cifar10'?"]),
        ("data fetch nosuch", ["unknown data set 'nosuch'. Allowed: cifar10, cifar100."]),
        ("data fetch digits", ["digits: is not published as an archive"]),
        ("pack runs.zip --results new", ["runs.zip: packs are tar files."]),
    ],
)  # fmt: skip
def test_a_wrong_word_is_a_usage_error(
    shell: Shell, tmp_path: Path, words: str, texts: list[str]
) -> None:
    (tmp_path / "new").mkdir()
    check(shell(words), 2, *texts)
    assert not list(tmp_path.glob("results/runs/[0-9a-f]*"))


def test_a_tier_cannot_be_called_as_the_suite_itself_is(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "tiers" / "large.yaml").rename(tmp_path / "tiers" / "paper.yaml")
    for verb in ("validate", "plan"):
        check(shell(verb, "mini.yaml"), 2, "paper.yaml: a tier cannot be called 'paper'")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"base.training.optim": {"weight_deacy": 1e-4}}, "Did you mean 'weight_decay'?"),
        ({"base.training.optim.lr": "1e-x"}, "must be a number"),
    ],
)
def test_a_mistake_in_a_suite_is_named_with_file_line_and_column(
    shell: Shell, tmp_path: Path, change: dict[str, Any], text: str
) -> None:
    write_suite(tmp_path, changed(suite_of(), change))
    outcome = shell("run mini.yaml")
    check(outcome, 2, text)
    assert re.match(r"mini\.yaml:\d+:\d+: ", outcome.err)


def test_two_suites_of_one_name_are_refused(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    write_suite(tmp_path / "copy")
    check(shell("run mini.yaml copy/mini.yaml"), 2, "has the same name, 'mini', as mini.yaml")
    assert shell("plan mini.yaml ./mini.yaml --format json").code == 0


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        ("run table1_arl_vs_nal", ["cifar10: not available. Run `resbench data fetch cifar10`"]),
        ("run table1_arl_vs_nal --data cifar10=none", ["none: no such file or folder"]),
        ("run table1_arl_vs_nal --data cifar10=empty", ["empty: this folder has none of cifar-10"]),
        ("run table1_arl_vs_nal --data cifar10=damaged", ["train-0.parquet"]),
        ("run mini.yaml --devices cuda", ["--devices cuda: nvidia-smi lists no such GPU."]),
        ("run mini.yaml --results file", ["file: a file, not a results folder. Choose another"]),
        ("run mini.yaml --results file/below", ["file/below"]),
        ("verify --results none", ["none: no such results folder. Name one with --results."]),
        ("verify --results damaged", ["damaged: not a results folder: it has no runs/."]),
        ("pack out.tar", ["results: no such results folder. Name one with --results."]),
        *((f"{verb} --results {name}", [f"{name}: no such results folder. Name one"])
          for verb in READING for name in ("none", "file")),
        ("merge none.tar", ["none.tar"]),
    ],
)  # fmt: skip
def test_what_is_not_there_or_cannot_be_used_is_a_fault_of_the_environment(
    shell: Shell, tmp_path: Path, words: str, texts: list[str]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    for split in ("train", "test"):
        (tmp_path / "damaged" / f"{split}-0.parquet").write_bytes(b"PAR1 no more")
    check(shell(words), 3, *texts)


@pytest.mark.parametrize("verb", [*READING, "plan mini.yaml", "run mini.yaml"])
@pytest.mark.parametrize(("format_", "remedy"), [(2, "Update resbench"), (0, "Use the resbench")])
def test_every_verb_refuses_results_of_another_format_in_the_same_line(
    shell: Shell, tmp_path: Path, verb: str, format_: int, remedy: str
) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "resbench.json").write_text(f'{{"format": {format_}}}')
    text = f"resbench.json: format {format_}; this resbench knows format 1. {remedy}"
    check(shell(verb), 3, text)
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["resbench.json"]


LONG = "x" * 5000


@pytest.mark.parametrize(
    "words",
    [
        f"validate {LONG}.yaml",
        f"plan {LONG}",
        f"plan mini.yaml --tier {LONG}",
        f"run mini.yaml --results {LONG}",
        f"merge {LONG}.tar",
        f"pack {LONG}.tar --results real",
        f"report mini.yaml --output {LONG}.md",
        f"report mini.yaml --site {LONG}",
        f"run table1_arl_vs_nal --data cifar10={LONG}",
        *(f"{verb} --results {LONG}" for verb in READING),
    ],
    ids=lambda words: words.replace(LONG, "LONG"),
)
def test_a_path_that_no_system_can_look_up_is_one_line(
    shell: Shell, tmp_path: Path, words: str
) -> None:
    (tmp_path / "real").mkdir()
    outcome = shell(words)
    assert outcome.code in (2, 3)
    check(outcome, outcome.code)


def test_a_file_system_without_locks_is_refused(
    shell: Shell, tmp_path: Path, monkeypatch: Patch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("resbench.store.locks.fcntl.flock", refuse)
    said = ("this file system cannot lock files", "Choose a results folder on a local disk")
    check(shell("run mini.yaml"), 3, *said)
    assert not list(tmp_path.glob("results/runs/[0-9a-f]*"))


def test_a_link_to_nothing_is_named(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "results").symlink_to("/gone")
    for words in ("run mini.yaml", "status", "report"):
        check(shell(words), 3, "a link to /gone, which is not there")


@pytest.mark.parametrize("home", ["file/home", "x" * 300])
def test_suites_that_need_no_configuration_work_without_a_home_that_can_be_read(
    shell: Shell, tmp_path: Path, monkeypatch: Patch, home: str
) -> None:
    for name in ("RESBENCH_CACHE_DIR", "RESBENCH_DATA_DIR", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / home))
    assert shell("plan smoke").code == 0
    assert shell("data list").code == (3 if len(home) > 255 else 0)


@pytest.mark.parametrize(
    "words",
    [
        *(f"run mini.yaml --{option}" for option in ("results", "seeds", "budget", "tier")),
        "pack", "merge", "report --site", "report --output", "data fetch cifar10 --to",
    ],
)  # fmt: skip
def test_an_empty_value_as_of_an_unset_variable_is_refused_and_nothing_is_written(
    shell: Shell, tmp_path: Path, words: str
) -> None:
    (tmp_path / "results").mkdir()
    before = sorted(tmp_path.rglob("*"))
    check(shell(words, ""), 2)
    assert sorted(tmp_path.rglob("*")) == before
