"""docs/python.md works as it is written, on the records that are shipped."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.mini import python

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "python.md"


def test_every_block_of_the_page_runs_and_shows_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    assert len(blocks) == 5
    names: dict[str, Any] = {}
    for block in blocks:
        # As a notebook does: the last expression of a block is its output.
        head, _, last = block.rpartition("\n\n") if "\n\n" in block else ("", "", block)
        exec(head, names)
        *statements, shown = re.split(r"\n(?=[a-z])", last.strip())
        exec("\n".join(statements), names)
        assert len(eval(shown, names)), block


def test_importing_resbench_imports_neither_pandas_nor_torch(tmp_path: Path) -> None:
    code = (
        "import sys, resbench; resbench.load; print({'pandas', 'torch', 'click'} & {*sys.modules})"
    )
    assert python(tmp_path, code) == "set()\n"
