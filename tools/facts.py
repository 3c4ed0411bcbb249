"""Write docs/facts.md: where each fact of the sources can be found in resbench, or why it cannot.

The facts are rows of tests/corpus/facts.csv: each published number, and each statement of the 2019
report. ``home`` says where a fact went; tests/suite follows every one of them there.

Usage: ``python -m tools.facts``.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FACTS = ROOT / "tests" / "corpus" / "facts.csv"
PAGE = ROOT / "docs" / "facts.md"
Fact = dict[str, str]

SECTIONS = (
    *("Abstract", "1", "2.1", "2.2", "3", "3.1", "3.2", "3.3"),
    *("4", "4.1", "4.2", "4.3", "5.1", "5.2", "5.3", "6"),
)
TABLES = {
    **dict.fromkeys("1234", "2.2"),
    **dict.fromkeys("5", "4.1"),
    **dict.fromkeys("678", "5.1"),
}
"""The sections of the report, and where its tables stand."""
MEANINGS = {
    "val_in_train": "error on validation images that are also trained on",
    "train_aug": "training error under augmentation",
}
KINDS = {
    "cell": "in a cell of a table",
    "claim": "as a claim",
    "setting": "as a setting of a run",
    "suite": "as a whole suite",
    "footnote": "in a footnote",
    "none": "in no suite, with the reason",
}
HEAD = """\
# The facts of the sources

Every number and every statement of the 2019 report, in its order, and the numbers of the other
sources: where each can be found in resbench, or why it cannot. Statements are in our words. "Is"
says what a published value is by the authors' own code and logs, where that is known and differs.

`python -m tools.facts` writes this page from `tests/corpus/facts.csv`. Tests follow each fact to
the place it names, and look for each number of the report among the facts.
"""


def read() -> list[Fact]:
    """Return the facts, a dictionary each."""
    with FACTS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def sections(fact: Fact) -> list[str]:
    """Return the sections of the report that have a fact; none for facts of other sources."""
    source, _, place = fact["table"].partition(":")
    if source != "report":
        return []
    return [TABLES[place]] if place in TABLES else fact["column"].split(", ")


def kind(fact: Fact) -> str:
    """Return which of :data:`KINDS` a fact's home is."""
    name, colon, _ = fact["home"].partition(": ")
    return name if colon else "cell"


def page(facts: Iterable[Fact]) -> str:
    """Return the text of docs/facts.md."""
    facts = list(facts)
    counts = Counter(kind(fact) for fact in facts)
    summed = [f"| {words} | {counts[name]} |" for name, words in KINDS.items()]
    lines = [HEAD, "| where | facts |", "|---|---|", *summed, f"| all | {len(facts)} |"]
    report = sorted((f for f in facts if sections(f)), key=lambda f: SECTIONS.index(sections(f)[0]))
    lines += ["", "## The 2019 report"]
    for section, group in groupby(report, key=lambda fact: sections(fact)[0]):
        lines += ["", f"### {section if section == 'Abstract' else f'Section {section}'}", ""]
        lines += _table(group)
    for source, title in (
        ("report-repo", "The code and logs of the report's authors"),
        ("wang", "Wang et al. 2017"),
        ("He et al. 2016", "He et al. 2016"),
    ):
        lines += ["", f"## {title}", ""]
        lines += _table(fact for fact in facts if fact["table"].partition(":")[0] == source)
    return "\n".join(lines) + "\n"


def _table(facts: Iterable[Fact]) -> Iterator[str]:
    yield "| place | fact | published | is | in resbench |"
    yield "|---|---|---|---|---|"
    for fact in facts:
        cells = (_place(fact), _words(fact), _published(fact), _is(fact), _home(fact))
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _in_text(fact: Fact) -> bool:
    """Say whether the report's text has a fact; its ``column`` then names the sections."""
    return fact["table"] in {"report:text", "report:protocol"}


def _place(fact: Fact) -> str:
    place = fact["table"].partition(":")[2]
    if _in_text(fact):
        return fact["column"]
    return f"Table {place}" if place[:1].isdigit() and "." not in place else place


def _words(fact: Fact) -> str:
    """Return row, column and quantity, as far as they say something; of a statement its words."""
    if fact["metric"] == "statement":
        return fact["row"]
    column = "" if _in_text(fact) else fact["column"]
    quantity = column or fact["metric"].replace("_", " ")
    return ", ".join(part for part in (fact["row"], quantity, fact["dataset"]) if part)


def _published(fact: Fact) -> str:
    return fact["value"] or ("" if fact["metric"] == "statement" else "(blank)")


def _is(fact: Fact) -> str:
    text = fact["true_meaning"]
    for word, meaning in MEANINGS.items():
        text = text.replace(word, meaning)
    return text


def _home(fact: Fact) -> str:
    """Return a fact's home as a reader finds it."""
    if kind(fact) == "cell":
        links = (place.partition(":") for place in fact["home"].split())
        return ", ".join(f"{_link(suite)} {cell}" for suite, _, cell in links)
    rest = fact["home"].partition(": ")[2]
    if kind(fact) == "none":
        return f"none: {rest}"
    suite, *names = rest.split()
    if kind(fact) == "setting":
        return f"{_link(suite)}, setting `{names[-1]}`"
    if kind(fact) == "claim":
        return f"{_link(suite)}, claim {', '.join(names)}"
    return f"{_link(suite)}{', footnote' * (kind(fact) == 'footnote')}"


def _link(suite: str) -> str:
    return f"[{suite}](../reports/{suite}.md)"


if __name__ == "__main__":
    PAGE.write_text(page(read()), encoding="utf-8")
