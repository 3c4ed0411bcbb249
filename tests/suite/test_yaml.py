"""Suite files: what is read, what is refused and in which words, and at what cost."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct

from resbench.errors import ExitCode, UsageError
from resbench.suite import yaml as reader
from resbench.suite.load import suite_folder
from resbench.suite.messages import validate
from resbench.suite.spec import Frozen
from resbench.suite.yaml import (
    MAX_BYTES,
    DocumentError,
    YamlDocument,
    load_document,
    parse_document,
)

CORPUS = Path(__file__).parents[1] / "corpus" / "yaml"
FILE = Path("x.yaml")
Identifier = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


class Strict(Frozen, omit_defaults=True):
    pass


class Optim(Strict):
    lr: Annotated[float, Meta(gt=0)]
    momentum: Annotated[float, Meta(ge=0, lt=1)] = 0.9
    nesterov: bool = True
    weight_decay: Annotated[float, Meta(ge=0, le=1)] = 0.0001


class Attention(Strict, tag_field="family", tag="attention"):
    mask: Literal["local", "encoder-decoder"] = "local"
    optim: Optim | None = None


class Plain(Strict, tag_field="family", tag="plain"):
    depth: int = 164


class AttentionFree(Plain, tag="attention-free"):
    pass


Network = Attention | Plain | AttentionFree


class Drop(Strict):
    at: Annotated[float, Meta(gt=0)]


class Suite(Strict):
    version: Literal[1] = 1
    name: Identifier = "x"
    title: Annotated[str, Meta(min_length=1, max_length=20)] = "t"
    optim: Optim | None = None
    model: Network | None = None
    models: tuple[Network, ...] = ()
    drops: tuple[Drop, ...] = ()
    seeds: Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(min_length=1)] = (0,)
    levels: dict[Identifier, Optim] = msgspec.field(default_factory=dict)
    families: dict[Literal["attention", "plain"], dict[str, Any]] = msgspec.field(
        default_factory=dict
    )
    published: str | None = None
    unit: Literal["step", "epoch"] | None = None
    loose: str | int | float | None = ""

    def __post_init__(self) -> None:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds must differ from each other", "seeds")


def corpus(name: str) -> list[Any]:
    """One table: an input after each ``#### name``, what it gives after ``#### gives``."""
    text = (CORPUS / f"{name}.txt").read_text(encoding="utf-8")
    parts = re.split(r"^#### (.*)\n", text, flags=re.MULTILINE)[1:]
    cases = list(zip(parts[0::4], parts[1::4], parts[2::4], parts[3::4], strict=True))
    assert cases
    assert {gives for _, _, gives, _ in cases} == {"gives"}
    return [pytest.param(text, expected.rstrip("\n"), id=name) for name, text, _, expected in cases]


def outcome(data: bytes, model: type[Struct] | None = None) -> str:
    """What a file gives, as a corpus shows it: the value as JSON, or the error."""
    FILE.write_bytes(data)
    try:
        document = load_document(FILE)
        if model is not None:
            return msgspec.json.encode(validate(model, document)).decode()
    except DocumentError as error:
        return str(error)
    return json.dumps(document.value, ensure_ascii=False)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("text", "expected"), [*corpus("values"), *corpus("refused")])
def test_a_text_gives_exactly_this_value_or_error(text: str, expected: str) -> None:
    assert outcome(text.encode()) == expected


@pytest.mark.parametrize(("text", "expected"), corpus("bytes"))
def test_bytes_give_exactly_this_value_or_error(text: str, expected: str) -> None:
    data = text.removesuffix("\n").encode().decode("unicode_escape").encode("latin-1")
    assert outcome(data) == expected


@pytest.mark.parametrize(("text", "expected"), corpus("schema"))
def test_the_schema_gives_exactly_this_value_or_error(text: str, expected: str) -> None:
    assert outcome(text.encode(), Suite) == expected


def test_a_file_that_cannot_be_read_is_one_line() -> None:
    Path("folder").mkdir()
    for name, reason in {
        "none.yaml": "No such file or directory",
        "folder": "Is a directory",
        "x" * 300: "File name too long",
        "a\0b": "embedded null byte",
    }.items():
        with pytest.raises(UsageError) as caught:
            load_document(Path(name))
        assert str(caught.value) == f"{name}: cannot read this file: {reason}. Check the path."
        assert caught.value.exit_code is ExitCode.USAGE


def test_the_parser_in_python_reads_the_same_and_takes_over_without_libyaml(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert reader._LOADER is yaml.CSafeLoader, "PyYAML's wheels have libyaml"
    texts = [(path, path.read_text()) for path in sorted(suite_folder().rglob("*.yaml"))]
    fast = [parse_document(text, path) for path, text in texts]
    monkeypatch.setattr(reader, "_LOADER", yaml.SafeLoader)
    for (path, text), read in zip(texts, fast, strict=True):
        assert repr(parse_document(text, path).value) == repr(read.value)
        assert parse_document(text, path).positions == read.positions


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**18) + 1, 10**18 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=8),
    st.text(st.sampled_from("é漢😀 -:#'\"[]{},&*!|>%@`"), max_size=8),
)
VALUES = st.dictionaries(
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=8),
    st.recursive(
        SCALARS,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4), st.dictionaries(st.text("ab é", max_size=3), inner)
        ),
        max_leaves=12,
    ),
    max_size=4,
)


@settings(max_examples=150, deadline=None)
@given(VALUES, st.sampled_from([None, 1]))
def test_json_reads_as_itself_with_every_key_located(value: Any, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    document = parse_document(text, FILE)
    assert repr(document.value) == repr(value), "types and bits, not only equality"
    lines = text.split("\n")
    for path, place in document.positions.items():
        node: Any = value
        for part in path:
            node = node[part]
        shown = path[-1] if path and isinstance(path[-1], str) else node
        start = json.dumps(shown, ensure_ascii=False, indent=indent).split("\n")[0]
        assert lines[place.line - 1][place.column - 1 :].startswith(start)


VALID = """\
# a suite of every shape
version: 1
name: attention-56
title: Attention
optim: {lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 1e-4}
model:
  family: attention
  mask: "local"
  optim:
    lr: 1e-3
models:
  - {family: attention-free, depth: 3}
  - family: plain
drops:
- at: 0.5
- at: 64000
seeds: [3, 4]
levels:
  low: {lr: 0.01}
families:
  plain: {any: [thing, 'it''s', null]}
published: "4.90"
"""
PIECES = st.sampled_from(
    [
        *VALID.splitlines(keepends=True),
        *re.findall(r"[\w.]+|\W", VALID),
        *("010", ".nan", "1e999", "64_000", "True", "~", "null", "{}", "[]", "<<: "),
        *("&a ", "*a", "!!str ", "!<", "%YAML 1.1\n", "---\n", "...\n", "? ", "| ", ">-\n"),
        *("\t", "\r", "\r\n", "\0", "\x85", "\u2028", "\ufeff", "[" * 40, "- " * 40),
        *("\\UFFFFFFFF", "\\x4", '"\\ud800"'),
    ]
)


@st.composite
def mutants(draw: st.DrawFn) -> str:
    """The valid suite with a few pieces cut out, put in or put over others."""
    text = VALID
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        text = text[:start] + draw(st.one_of(st.just(""), PIECES)) + text[end:]
    return text


def assert_is_refused_in_words(error: DocumentError, data: bytes) -> None:
    lines = re.split(r"\r\n|\r|\n", data.decode(errors="replace"))
    for line in str(error).split("\n"):
        match = re.fullmatch(r"x\.yaml:(\d+):(\d+): (\S.*[.])", line)
        assert match, line
        row, column, message = int(match[1]), int(match[2]), match[3]
        assert 1 <= row <= len(lines)
        assert 1 <= column <= len(lines[row - 1]) + 1
        assert message.isprintable()


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda t: t.encode())))
@example(b"%YAML 9.9")
@example(b"a: 1\n...\n%YAML 1.99\n---\n")
@example(b'"\\U00110000"')
@example(b'a: "\\')
@example(b"!%zz")
def test_any_bytes_are_a_document_or_an_error_in_words(data: bytes) -> None:
    FILE.write_bytes(data)
    try:
        assert isinstance(load_document(FILE), YamlDocument)
    except DocumentError as error:
        assert_is_refused_in_words(error, data)


@settings(max_examples=600, deadline=None)
@given(mutants())
@example(VALID)
def test_a_damaged_suite_is_a_suite_or_an_error_in_words(text: str) -> None:
    try:
        assert isinstance(validate(Suite, parse_document(text, FILE)), Suite)
    except DocumentError as error:
        assert_is_refused_in_words(error, text.encode(errors="surrogatepass"))


ANCHORS = "anchors (&) and aliases (*) are not supported"
TOO_LARGE = "the file is larger than 64 KiB"
TOO_DEEP = "nested deeper than 32 levels"
DEEP_FLOW = TOO_DEEP, "this is not YAML: exceeded maximum nesting depth"  # PyYAML 6.0.4's own
HUGE = "# more than there is memory\n"
BOMBS: dict[str, tuple[str, str | tuple[str, ...]]] = {
    "200 megabytes": (HUGE, TOO_LARGE),
    "aliases": (
        "a: &a [x, x]\n"
        + "".join(f"{b}: &{b} [{f'*{a}, ' * 9}]\n" for a, b in pairwise("abcdefghijklmnopqrst")),
        ANCHORS,
    ),
    "one megabyte": ("a: b\n" * 200_000, TOO_LARGE),
    "deep lists in a block": ("- " * 5000, TOO_DEEP),
    "deep mappings in a block": ("".join(f"{' ' * i}a:\n" for i in range(300)), TOO_DEEP),
    "deep keys in a block": ("? " * 5000, TOO_DEEP),
    "deep lists in flow": ("[" * 5000, DEEP_FLOW),
    "deep and closed": ("[" * 5000 + "]" * 5000, DEEP_FLOW),
    "many values": ("a: [" + "1," * 30_000 + "1]", "accepted"),
    "many keys": ("".join(f"k{i}: v\n" for i in range(7_000)), "accepted"),
    "many anchors": ("a: [" + "&a ," * 13_000 + "]", ANCHORS),
    "many bytes in few characters": ("a: b\n" + "# é\n" * (MAX_BYTES // 5), TOO_LARGE),
    "one long text": ("a: " + "x " * (MAX_BYTES // 2 - 2), "accepted"),
}
GUARDED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (100 << 20, 100 << 20))
from pathlib import Path
from resbench.suite.yaml import DocumentError, load_document
for name in sys.argv[1:]:
    try:
        bytearray(90 << 20) if name == "control" else load_document(Path(name))
        outcome = "accepted"
    except DocumentError as error:
        outcome = error.problems[-1].message
    except MemoryError:
        outcome = "out of memory"
    print(outcome)
"""


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS keeps no limit of a process's memory")
def test_bombs_are_refused_within_100_megabytes() -> None:
    names = [f"{i}.yaml" for i in range(len(BOMBS))]
    for name, (text, _) in zip(names, BOMBS.values(), strict=True):
        Path(name).write_text(text)
        if text == HUGE:
            os.truncate(name, 200 << 20)
    command = [sys.executable, "-c", GUARDED, *names, "control"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    *lines, control = run.stdout.splitlines()
    for (name, (_, expected)), line in zip(BOMBS.items(), lines, strict=True):
        assert line.startswith(expected), name
    assert control.endswith("out of memory"), "the limit must bite"
