"""The files that docs/adding-a-paper.md shows are a paper that runs, and its commands work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from resbench.models import build, own_family
from tests.cli.invoke import invoke
from tests.mini import names_of

ROOT = Path(__file__).resolve().parents[2]
DOC = ROOT / "docs" / "adding-a-paper.md"
TABLE = "smith/table2.yaml"
FILES = {TABLE, "smith/sources.yaml", "smith/protocols/smith2024.yaml"}

Capture = pytest.CaptureFixture[str]


def shown() -> dict[str, str]:
    """Return the YAML blocks of the document by the file name above each."""
    text = DOC.read_text(encoding="utf-8")
    found = re.findall(r"^`(\S+\.yaml)`:\n\n```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(found) == text.count("```yaml")
    return dict(found)


def commands() -> list[list[str]]:
    return [line.split() for line in re.findall(r"^\$ resbench (.+)$", DOC.read_text(), re.M)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the files of the document, and the checkout next to them."""
    for name, text in shown().items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "resbench").symlink_to(ROOT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_document_shows_one_file_of_each_kind_and_the_table_is_short() -> None:
    assert shown().keys() == FILES
    assert len(shown()[TABLE].splitlines()) <= 25


def test_the_first_line_of_each_file_leads_to_its_schema(folder: Path) -> None:
    for name, text in shown().items():
        found = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
        assert found is not None
        schema = (folder / name).parent / found[1]
        assert schema.is_file()
        assert schema.resolve().is_relative_to(ROOT / "suites" / "schema")


def test_every_command_of_the_document_works_on_its_files_in_order(
    folder: Path, capsys: Capture
) -> None:
    """A few seconds of training on the digits."""
    one = ["--no-mirror", "-j", "1", "--devices", "cpu", "--seeds", "1,"]
    options = {"run": one, "plan": ["--devices", "cpu"]}
    outcomes = {}
    for verb, *arguments in commands():
        name = "site" if "--site" in arguments else verb
        outcomes[name] = invoke(capsys, verb, *arguments, *options.get(verb, []))
        assert outcomes[name].code == 0, f"{name}: {outcomes[name].err}"
    assert list(outcomes) == ["validate", "plan", "run", "report", "explain", "site"]
    assert "2 cells, 4 runs, 1 published value, 1 claim: ok" in outcomes["validate"].out
    assert len(list(folder.glob("results/runs/*/record.json"))) == 2
    assert "Smith et al. 2024, Table 2" in outcomes["report"].out
    page = (folder / "smith" / "report" / "README.md").read_text()
    assert "Tables of [Smith et al. 2024](https://example.org/smith2024.pdf)" in page
    assert "2 runs in 1 setting." in page
    assert "PyTorch where the source used JAX" in " ".join(outcomes["explain"].out.split())


@pytest.mark.parametrize(
    ("file", "old", "new", "place"),
    [
        (TABLE, "key: smith2024", "key: smyth2024", "5:12: unknown source"),
        (TABLE, "protocol: smith2024", "protocol: smyth2024", "6:1: unknown protocol"),
        (TABLE, "error(nal)", "error(null)", "23:5: 'error(null)': unknown cell 'null'"),
        ("smith/sources.yaml", "framework", "frame", "4:3: missing key 'framework'"),
        ("smith/protocols/smith2024.yaml", "width: 0.125", "widht: 0.125", "unknown key 'widht'"),
    ],
)
def test_a_slip_in_any_of_the_files_is_found(
    folder: Path, capsys: Capture, file: str, old: str, new: str, place: str
) -> None:
    path = folder / file
    path.write_text(path.read_text().replace(old, new), encoding="utf-8")
    found = invoke(capsys, "validate", TABLE)
    assert found.code == 2
    assert place in found.err, found.err
    assert "source" in place or "unknown source" not in found.err


def test_the_network_that_the_document_shows_is_a_family_whose_networks_learn(
    tmp_path: Path,
) -> None:
    (text,) = re.findall(r"```python\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)
    file = tmp_path / "networks.py"
    file.write_text(text, encoding="utf-8")
    family = own_family(file)
    assert names_of(family) == ("plain-2", "plain-4")
    layers = []
    for name in names_of(family):
        model = build("plain", name, kernel=3, code=family.code, width=0.5)
        loss = torch.nn.functional.cross_entropy(model(torch.randn(4, 3, 8, 8)), torch.arange(4))
        loss.backward()
        assert all(p.grad is not None and p.grad.any() for p in model.parameters())
        layers.append(sum(isinstance(m, torch.nn.Conv2d | torch.nn.Linear) for m in model))
    assert layers == [2, 4]
