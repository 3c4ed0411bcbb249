"""From command-line words to values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from resbench.cli.options import parse_budget
from resbench.cli.planning import parse_override, parse_seeds
from resbench.errors import UsageError


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        *((parse_budget, text, seconds) for text, seconds in
          [("90s", 90), ("9m", 540), ("1h30m", 5400), ("2h", 7200), ("1h1s", 3601)]),
        *((parse_seeds, text, seeds) for text, seeds in
          [("3", (1, 2, 3)), ("1,5,9", (1, 5, 9)), ("7,", (7,)), ("7,0,", (7, 0))]),
    ],
)  # fmt: skip
def test_a_duration_is_in_seconds_and_seeds_are_how_many_or_which(
    parse: Callable[[str], object], text: str, value: object
) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "texts", "said"),
    [
        (parse_budget, ["", "9", "m", "-1m", "1.5h", "30m1h", "0s", "9 m", "9" * 5000 + "s"],
         "^--budget "),
        (parse_seeds, ["", "0", "-1", "1,1", "a", "1;2", "1-3", "9" * 20],
         r"give how many \('3' for 1 to 3\) or a list"),
        (parse_override, ["lr", "=3"], "must be KEY=VALUE"),
    ],
)  # fmt: skip
def test_anything_else_is_refused(
    parse: Callable[[str], object], texts: list[str], said: str
) -> None:
    for text in texts:
        with pytest.raises(UsageError, match=said):
            parse(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.05", 0.05), (".05", 0.05), ("1.", 1.0), ("-.5e-3", -0.0005), ("+3", 3), ("1e3", 1e3),
     ("true", True), ("null", None), ("[1]", [1])],
)  # fmt: skip
def test_a_value_is_what_it_would_be_in_a_file(text: str, value: Any) -> None:
    key, parsed = parse_override(f"a={text}")
    assert (key, parsed, type(parsed)) == ("a", value, type(value))


@pytest.mark.parametrize(
    "text",
    ["nal", "NaN", "x=y", "", "[" * 9999, "010", ".", "+", "e5", "1.2.3", "0x1F", "1_000",
     "9" * 5000],
)  # fmt: skip
def test_what_is_neither_json_nor_a_number_of_a_file_is_text(text: str) -> None:
    assert parse_override(f"a={text}") == ("a", text)
