"""The repository carries nothing of the machine it was written on, and one name a thing."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT_BYTES = 2 * 1024**2
# Absolute paths below somebody's home or mount, and addresses of package registries.
FOREIGN = re.compile(
    rb"(?<![\w.$})-])/(?:home|mnt|opt|root|Users|work)/\w[^\s'\"]*"
    rb"|\bpypi\.org\b|\bpythonhosted\.org\b|\bregistry\.npmjs\b"
)


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """Return the files that are tracked, or would be with the next ``git add``."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: which files are tracked is unknown")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    paths = [ROOT / name.decode() for name in listed.split(b"\0") if name]
    return [path for path in paths if path.is_file()]


def test_no_file_names_a_path_of_a_machine_or_a_registry(files: list[Path]) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0].decode(errors='replace')}"
        for path in files
        for match in FOREIGN.finditer(path.read_bytes())
    ]
    assert found == []


def test_every_link_and_every_test_that_a_page_names_is_there() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]
    for page in pages:
        text = page.read_text("utf-8")
        named = {page.parent / link for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)}
        named |= {ROOT / path for path in re.findall(r"`((?:tests|tools)/[\w/.]+)`", text)}
        assert named or page.name != "reliability.md"
        assert [str(path) for path in named if not path.exists()] == [], page.name


def test_what_a_mac_leaves_in_folders_makes_no_checkout_dirty(files: list[Path]) -> None:
    assert files
    for name in (".DS_Store", "benchmark/resbench/.DS_Store", "benchmark/resbench/._words.py"):
        assert subprocess.run(["git", "check-ignore", "-q", name], cwd=ROOT).returncode == 0, name


def test_no_file_is_larger_than_2_mib(files: list[Path]) -> None:
    assert (ROOT / "pyproject.toml") in files
    assert [str(path) for path in files if path.stat().st_size > LIMIT_BYTES] == []


def test_no_two_classes_of_the_package_have_the_same_name() -> None:
    trees = (ast.parse(path.read_text()) for path in ROOT.glob("benchmark/resbench/**/*.py"))
    classes = [node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    times = Counter(name for name in classes if not name.startswith("_"))
    assert len(times) > 100
    assert [name for name, count in times.items() if count > 1] == []


@pytest.mark.parametrize("root", ["home", "mnt", "opt", "root", "Users", "work"])
def test_a_path_of_a_machine_is_recognised(root: str) -> None:
    assert FOREIGN.search(f'"data": "/{root}/someone/data"'.encode())
    assert not FOREIGN.search(f"https://example.org/{root}/page and tests/{root}/x.py".encode())
