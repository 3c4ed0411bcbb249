"""One name a thing."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import resbench

PACKAGE = Path(resbench.__file__).parent


def test_no_two_classes_of_the_package_have_the_same_name() -> None:
    trees = (ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py"))
    names = [
        node.name
        for tree in trees
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    assert len(names) > 100
    assert [name for name, times in Counter(names).items() if times > 1] == []
