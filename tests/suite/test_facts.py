"""docs/facts.md: nothing that the 2019 report says is missing from it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from tools.facts import PAGE, ROOT, Fact, page, read, sections

NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?")
NAMES = re.compile(
    r"CIFAR-?\s?\d+(?:/100)?|Attention ?-?\d+|ResNet-?\d+|\d+-layer|Top-1"  # what is meant
    r"|Tables? \d|Figure \d|\[\d+\](?:\(#\))?|^\d\. |\(\d\)\s*$"  # where it stands
    r"|<sup>.*?</sup>",  # the unit of a column
    re.MULTILINE,
)
"""Digits that state nothing."""


def numbers(text: str) -> set[str]:
    return {found.replace(",", "") for found in NUMBER.findall(text)}


def by_section(document: str) -> dict[str, str]:
    """Return the text of each section, from the abstract to the conclusion."""
    body = document[document.index("## Abstract") : document.index("## 7. References")]
    abstract, *parts = re.split(r"^#+ ([\d.]+?)\.? .*$", body, flags=re.MULTILINE)
    return {"Abstract": abstract} | dict(zip(parts[::2], parts[1::2], strict=True))


def homeless(document: str, facts: Iterable[Fact]) -> set[tuple[str, str]]:
    """Return each number, with its section, that no fact of that section has."""
    facts = list(facts)
    missing = set()
    for section, text in by_section(document).items():
        of_it = [fact for fact in facts if section in sections(fact)]
        known = {number for f in of_it for number in numbers(f"{f['value']} {f['row']}")}
        missing |= {(section, number) for number in numbers(NAMES.sub(" ", text)) - known}
    return missing


@pytest.fixture(scope="module")
def document() -> str:
    """The text of the 2019 report, which is not ours to publish; skips where it is absent."""
    data = Path(os.environ.get("RESBENCH_SHARED_DATA") or ROOT.parent / "shared" / "data")
    path = data.parent / "design" / "000_284e066b5b3f9ade.txt"
    if not path.is_file():
        pytest.skip(f"the report's numbers are NOT compared with the facts: {path} is absent")
    return path.read_text(encoding="utf-8")


def test_every_number_of_the_report_is_a_fact_of_its_section(document: str) -> None:
    assert len(by_section(document)) == 18
    assert homeless(document, read()) == set()


def test_a_number_without_a_fact_would_be_found(document: str) -> None:
    more = document.replace("## 6. Conclusion", "Attention-92 reaches 98.76%.\n\n## 6. Conclusion")
    assert homeless(more, read()) == {("5.3", "98.76")}
    fewer = [fact for fact in read() if fact["id"] != "seed.txt.a92.66"]
    assert homeless(document, fewer) == {("5.1", "66")}


def test_every_section_of_the_report_has_facts(document: str) -> None:
    told = {section for fact in read() for section in sections(fact)}
    empty = {name for name, text in by_section(document).items() if not text.strip()}
    assert by_section(document).keys() - empty == told


def test_the_page_is_what_the_facts_make() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(read()), "run python -m tools.facts"


def test_the_page_has_a_line_for_every_fact_and_its_links_lead_to_files() -> None:
    text = PAGE.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|") and line.count("|") == 6]
    assert len(lines) - 2 * text.count("| place | fact |") == len(read())
    links = set(re.findall(r"\]\((\S+?)\)", text))
    assert links
    assert all((PAGE.parent / link).is_file() for link in links)
