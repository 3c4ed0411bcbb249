import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resbench.data.locations import parse_locations
from resbench.errors import UsageError

SEGMENT = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1)


def problems(pairs: list[str], config: Path | None = None) -> list[str]:
    with pytest.raises(UsageError) as caught:
        parse_locations(pairs, config)
    return str(caught.value).splitlines()


@given(SEGMENT)
def test_any_path_is_taken_literally(segment: str) -> None:
    path = Path("/somewhere") / segment
    expected = Path(os.path.abspath(path))
    assert parse_locations([f"cifar10={path}"]) == {"cifar10": expected}


@given(st.lists(st.text(), max_size=4))
def test_any_text_ends_in_locations_or_in_one_error(pairs: list[str]) -> None:
    try:
        locations = parse_locations(pairs)
    except UsageError:
        return
    assert set(locations) <= {"cifar10", "cifar100"}


def test_command_line_wins_over_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    config.write_text('[data]\ncifar10 = "/a"\ncifar100 = "/b"\n\n[other]\nx = 1\n')
    assert parse_locations(["cifar10=/c"], config) == {
        "cifar10": Path("/c"),
        "cifar100": Path("/b"),
    }


def test_relative_paths_belong_to_the_folder_they_were_written_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "work").mkdir()
    config = tmp_path / "conf" / "own.toml"
    config.write_text('[data]\ncifar10 = "sets/ten"\n')
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("RESBENCH_CONFIG", "../conf/own.toml")
    monkeypatch.setenv("HOME", "/somewhere")
    assert parse_locations(["cifar100=../b"]) == {
        "cifar10": tmp_path / "conf" / "sets" / "ten",
        "cifar100": tmp_path / "b",
    }
    assert parse_locations(["cifar100=~/b"])["cifar100"] == Path("/somewhere/b")


def test_configuration_of_the_user_may_be_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RESBENCH_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert parse_locations([]) == {}
    config = tmp_path / "xdg" / "resbench" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[data]\ncifar10 = "/a"\n')
    assert parse_locations([]) == {"cifar10": Path("/a")}


def test_named_configuration_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = tmp_path / "absent.toml"
    assert problems([], absent) == [f"{absent}: cannot be read: No such file or directory."]
    monkeypatch.setenv("RESBENCH_CONFIG", str(absent))
    assert problems([]) == [f"{absent}: cannot be read: No such file or directory."]


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    config.write_text('[data]\ncifar = "/a"\ncifar10 = 3\ncifar100 = "a\\u0000b"\n')
    pairs = ["cifar10", "cifra100=/a", "digits=/a", "cifar10=", "cifar100=/a", "cifar100=/b"]
    assert problems(pairs, config) == [
        f"{config}: [data] cifar: unknown data set 'cifar'. Did you mean 'cifar10'? "
        "Allowed: cifar10, cifar100.",
        f"{config}: [data] cifar10: expected a path, got 3.",
        f"{config}: [data] cifar100: expected a path, got 'a\\x00b'.",
        "--data 'cifar10': expected NAME=PATH, for instance cifar10=FOLDER.",
        "--data 'cifra100=/a': unknown data set 'cifra100'. Did you mean 'cifar100'? "
        "Allowed: cifar10, cifar100.",
        "--data 'digits=/a': digits: comes with scikit-learn and has no other location.",
        "--data 'cifar10=': expected a path, got ''.",
        "--data 'cifar100=/b': cifar100 is given twice.",
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[data\n", "not valid TOML: Expected ']'"),
        (b"\xff\xfe", "not valid TOML: 'utf-8' codec can't decode"),
        (b"data = 3\n", "'data' is not a table; write [data] above the locations."),
    ],
)
def test_configuration_that_is_not_toml_is_named(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    config = tmp_path / "own.toml"
    config.write_bytes(content)
    (line,) = problems([], config)
    assert line.startswith(f"{config}: {problem}")
