"""Numbers in words, text on one line, and the words of a hint."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from resbench import words
from resbench.errors import did_you_mean


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 runs"), (1, "1 run"), (2, "2 runs"), (12345, "12,345 runs")]
)
def test_one_is_one_and_thousands_are_set_apart(number: int, text: str) -> None:
    assert words.count(number, "run") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (89.4, "89 s"),
        (90, "2 min"),
        (5369, "89 min"),
        (7500, "2 h 05 min"),
        (12_000, "3 h 20 min"),
        (4 * 86_400, "4.0 days"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_a_command_names_the_results_folder_unless_it_is_the_usual_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for usual in (Path("results"), tmp_path / "results"):
        assert words.invocation("sync", usual) == "`resbench sync`"
    found = words.invocation("report", Path("my runs"), ["a b.yaml"])
    assert found == "`resbench report 'a b.yaml' --results 'my runs'`"


def test_hostile_text_stays_on_one_line() -> None:
    assert words.one_line("a\nb\x1b[31m\u202e\r é") == "a\\nb\\x1b[31m\\u202e\\r é"


def test_the_package_has_one_count_and_one_duration() -> None:
    found = [
        f"{path.parent.name}/{path.name}: {node.name}"
        for path in Path(words.__file__).parent.rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name in ("count", "duration")
    ]
    assert found == ["resbench/words.py: count", "resbench/words.py: duration"]


def test_of_many_names_a_near_one_stands_alone() -> None:
    names = [f"attention-{depth}/{way}" for depth in range(40) for way in ("arl", "nal")]
    assert did_you_mean("smok", ["smoke", "x"]) == " Did you mean 'smoke'? Allowed: smoke, x."
    assert did_you_mean("atention-7/arl", names) == " Did you mean 'attention-7/arl'?"


def test_of_many_names_without_a_near_one_the_first_are_listed_and_the_rest_counted() -> None:
    names = [f"name{i}" for i in range(40)]
    assert did_you_mean("tabel1", ["table1_mask", "x"]).startswith(" Did you mean 'table1_mask'?")
    assert did_you_mean("", ["table1_mask", "x"]) == " Allowed: table1_mask, x."
    assert did_you_mean("?", names[:15]) == f" Allowed: {', '.join(names[:15])}."
    assert did_you_mean("?", names) == f" Allowed: {', '.join(names[:15])} and 25 more."
