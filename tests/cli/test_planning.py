"""From command-line words to values."""

from __future__ import annotations

import pytest

from resbench.cli.planning import parse_budget, parse_overrides, parse_seeds
from resbench.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("9m", 540), ("1h30m", 5400), ("2h", 7200), ("1h1s", 3601)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "9", "m", "-1m", "1.5h", "30m1h", "0s", "9 m", "9" * 5000 + "s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--budget "):
        parse_budget(text)


@pytest.mark.parametrize(
    ("text", "seeds"), [("3", (1, 2, 3)), ("1,5,9", (1, 5, 9)), ("7,", (7,)), ("7,0,", (7, 0))]
)
def test_seeds_are_how_many_or_which(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "0", "-1", "1,1", "a", "1;2", "1-3", "9" * 20])
def test_what_are_no_seeds_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"give how many \('3' for 1 to 3\) or a list"):
        parse_seeds(text)


def test_an_override_is_json_or_text() -> None:
    words = ["true", "null", "[1]", "nal", "NaN", "x=y", "", "[" * 9999]
    values = [value for _, value in parse_overrides([f"a={word}" for word in words])]
    assert values == [True, None, [1], "nal", "NaN", "x=y", "", "[" * 9999]
    for pair in ("lr", "=3"):
        with pytest.raises(UsageError, match="must be KEY=VALUE"):
            parse_overrides([pair])


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.05", 0.05), (".05", 0.05), ("1.", 1.0), ("-.5e-3", -0.0005), ("+3", 3), ("1e3", 1e3)],
)
def test_a_number_is_one_on_the_command_line_as_in_a_file(text: str, value: float) -> None:
    ((_, parsed),) = parse_overrides([f"a={text}"])
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize("text", ["010", ".", "+", "e5", "1.2.3", "0x1F", "1_000", "9" * 5000])
def test_what_no_file_has_for_a_number_is_text(text: str) -> None:
    assert parse_overrides([f"a={text}"]) == (("a", text),)
