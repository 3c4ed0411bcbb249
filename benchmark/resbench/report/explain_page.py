"""The page of ``resbench explain``: findings in words, what explains most first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from resbench.analysis import SCHEMA
from resbench.analysis.explain import Explanation, Finding
from resbench.analysis.names import listed, source_label
from resbench.analysis.values import JudgedValue
from resbench.report import text
from resbench.report.document import Block, Command, Document, Heading, Items, Paragraph
from resbench.report.tables import measured
from resbench.suite.load import Loaded
from resbench.words import count

Facts = Mapping[str, Any]

_WORDS: dict[str, Callable[[Facts], tuple[str, str, str]]] = {
    "published_split": lambda f: (
        "the published number",
        f"{f['value'].number}: {' '.join(text.notes_of(f['value']))}",
        "It is another quantity: no difference to it means anything.",
    ),
    "other_data": lambda f: (f["where"], f["reason"], "Errors on other images are other errors."),
    "other_setting": lambda f: (
        f["where"],
        "; ".join(filter(None, [_changes(f), _work(f)])),
        "This is another experiment: its errors cannot be compared with the published ones.",
    ),
    "deviation": lambda f: (
        f["where"],
        ": ".join(filter(None, [f["reason"], _changes(f)])),
        "A known difference.",
    ),
    "inferred": lambda f: (
        count(len(f["settings"]), "inferred setting"),
        listed(f["settings"]),
        "The source does not state them; its authors may have chosen otherwise.",
    ),
    "size": lambda f: (
        "size of the network",
        f"{f['parameters']:,} parameters, {f['expected']:,} "
        + ("at full width" if f["narrow"] else "expected"),
        "A narrow network fits less than the published one."
        if f["narrow"]
        else "It is not the network that the catalogue describes.",
    ),
    "unlike_runs": lambda f: (
        "runs that are not alike",
        listed(f["kinds"]),
        "Compare them seed by seed.",
    ),
    "diverged": lambda f: (
        "diverged runs",
        f"{f['diverged']} of {count(f['runs'], 'run')}, the first: {f['reason']}",
        "The mean is that of the other runs.",
    ),
    "seeds": lambda f: (
        "seeds",
        count(f["runs"], "run")
        + (
            f", sd {f['sd']:.2f} pp; one more run is expected within ±{f['reach']:.2f} pp"
            if f["reach"] is not None
            else ""
        ),
        f"The published number is a median of {f['median_of']}, so that luck moves it less."
        if f["median_of"]
        else "The published number counts as one run; its luck is unknown.",
    ),
    "underfitted": lambda f: (
        "fit",
        _errors(f),
        "Underfitted: even training images are wrong more often than published test images.",
    ),
    "memorised": lambda f: (
        "fit",
        _errors(f),
        f"{f['corrupted'] - f['train']:.0f} points of corrupted labels were learnt by heart.",
    ),
    "overfitted": lambda f: (
        "fit",
        _errors(f),
        "Overfitted: what is missing is generalisation, not training.",
    ),
    "still_falling": lambda f: (
        "learning curve",
        f"the test error fell by {f['fall']:.2f} pp over the last tenth of the epochs, mean of "
        f"{count(f['runs'], 'run')}; chance gives up to {f['limit']:.2f} pp",
        "The error still falls at the end: longer training may lower it.",
    ),
    "best_epoch": lambda f: (
        "last epoch against best",
        f"the best epoch on the test set ({listed(f['epochs'])}) is {f['gain']:.2f} pp lower",
        "A source that reports its best epoch publishes that; here the last one counts.",
    ),
}
"""For each kind of finding: what it is about, what was found, why it matters."""


def explain_document(loaded: Loaded, name: str, found: Sequence[Explanation]) -> Document:
    """Return the answer for all settings."""
    blocks: list[Block] = [
        Heading(1, f"{loaded.suite.name} {name}: {found[0].label}"),
        Paragraph(f"{text.sentence(source_label(loaded))}."),
    ]
    if found[0].setting and not found[0].runs:
        blocks.append(Paragraph("Not run yet. What is known before:"))
    for explanation in found:
        blocks += _blocks(loaded, explanation)
    data = {"schema": SCHEMA, "suite": loaded.suite.name, "settings": list(found)}
    return Document(tuple(blocks), data)


def finding_sentence(finding: Finding) -> str:
    """Return a finding on one line: how much, what, the evidence, why it matters."""
    about, evidence, why = _WORDS[finding.code](finding.facts)
    if finding.points is None:
        weight = "size unknown"
    elif math.isinf(finding.points):
        weight = "not comparable"
    else:
        weight = f"up to {finding.points:.2f} pp"
    return f"{weight} · {about}: {evidence.rstrip('.')}. {why}"


def _blocks(loaded: Loaded, explanation: Explanation) -> Iterator[Block]:
    if explanation.setting:
        yield Heading(2, text.sentence(explanation.setting))
    told = any(finding.code == "published_split" for finding in explanation.findings)
    for value in explanation.values:
        yield Paragraph(_value_line(loaded, value, [] if told else text.notes_of(value)))
    for title, symptom in (("Causes", False), ("Symptoms", True)):
        found = [finding for finding in explanation.findings if finding.symptom == symptom]
        if found:
            yield Heading(3, title)
            yield Items(tuple(map(finding_sentence, found)), numbered=True)
    if explanation.command:
        yield Paragraph("To train the missing runs:")
        yield Command(explanation.command)


def _value_line(loaded: Loaded, value: JudgedValue, notes: Sequence[str]) -> str:
    label = loaded.suite.table.columns[value.column].label
    parts = [f"{label}: {f'published {value.number}' if value.number else 'nothing published'}"]
    if value.mean is not None or value.built:
        parts.append(f"measured {measured(value).text}")
    if value.difference is not None and value.is_error:
        parts.append(f"difference {text.signed(value.difference)}")
    said = dict.fromkeys([f"{', '.join(parts)}.", text.value_sentence(value), *notes])
    return " ".join(said)


def _changes(facts: Facts) -> str:
    changes = ((path, *map(text.plain_value, values)) for path, *values in facts["changes"])
    return listed(
        f"{path} {value}" + "".join(f" (source {other})" for other in source)
        for path, value, *source in changes
    )


def _work(facts: Facts) -> str:
    seen, source = facts["images"], facts["source_images"]
    share = f"{100 * seen / source:.3g} % of the source's {source:,}" if source else "source: none"
    return f"trains on {seen:,} images in all, {share}"


def _errors(facts: Facts) -> str:
    alone = f" where corrupted labels alone give {facts['corrupted']:.0f} %"
    labels = alone if facts["corrupted"] else ""
    train, test = facts["train"], facts["test"]
    return f"training error {train:.2f} % in the last epoch{labels}, test error {test:.2f} %"
