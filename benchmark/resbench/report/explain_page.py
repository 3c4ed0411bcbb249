"""The page of ``resbench explain``: findings in words, what explains most first."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from resbench.analysis import SCHEMA
from resbench.analysis.explain import Code, Explanation, Finding
from resbench.analysis.names import listed
from resbench.analysis.values import JudgedValue
from resbench.report import text
from resbench.report.document import Block, Command, Document, Heading, Items, Paragraph
from resbench.suite.load import Loaded
from resbench.words import count


def explain_document(loaded: Loaded, name: str, found: Sequence[Explanation]) -> Document:
    """Return the answer for all settings."""
    blocks: list[Block] = [
        Heading(1, f"{loaded.suite.name} {name}: {found[0].label}"),
        Paragraph(f"{text.sentence(loaded.cited)}."),
    ]
    if found[0].setting and not found[0].runs:
        blocks.append(Paragraph("Not run yet. What is known without a run:"))
    for explanation in found:
        blocks += _blocks(loaded, explanation)
    return Document(blocks, {"schema": SCHEMA, "suite": loaded.suite.name, "settings": list(found)})


def finding_sentence(finding: Finding) -> str:
    """Return a finding on one line: how much, what, the evidence, why it matters."""
    weight = "size unknown" if finding.points is None else f"up to {finding.points:.2f} pp"
    if not finding.comparable:
        weight = "not comparable"
    return f"{weight} · {_words(finding.code, finding.facts)}"


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
            yield Items(list(map(finding_sentence, found)), numbered=True)
    if explanation.command:
        yield Paragraph("To train the missing runs:")
        yield Command(explanation.command)


def _value_line(loaded: Loaded, value: JudgedValue, notes: Sequence[str]) -> str:
    label = loaded.suite.table.columns[value.column].label
    parts = [f"{label}: {f'published {value.number}' if value.number else 'nothing published'}"]
    if value.mean is not None:
        parts.append(f"measured {text.measured(value)}")
    if value.difference is not None and value.is_error:
        parts.append(f"difference {text.signed(value.difference)}")
    verdict = [] if value.is_error and value.verdict == "shown" else [text.value_sentence(value)]
    said = dict.fromkeys([f"{', '.join(parts)}.", *verdict, *notes])
    return " ".join(said)


def _words(code: Code, f: Mapping[str, Any]) -> str:
    """Return what a finding is about, what was found, and why it matters."""
    runs = count(f["runs"], "run") if "runs" in f else ""
    reason = (f.get("reason") or "").rstrip(".")
    match code:
        case "published_split":
            said = f"{f['value'].number}: {' '.join(text.notes_of(f['value']))}".rstrip(".")
            why = "It is a different quantity, so a difference from it means nothing."
            return f"the published number: {said}. {why}"
        case "other_data":
            return f"{f['where']}: {reason}. Errors on different images cannot be compared."
        case "other_setting":
            said = "; ".join(filter(None, [_changes(f), _work(f)]))
            if not said:  # a tier of other seeds alone, or a --set to the source's own value
                why = "only runs as declared are compared with published numbers"
                return f"{f['where']}: changes no value of this cell, but {why}."
            why = "its errors cannot be compared with the published ones"
            return f"{f['where']}: {said}. This is another experiment: {why}."
        case "deviation":
            said = ": ".join(filter(None, [f["reason"], _changes(f)])).rstrip(".")
            return f"{f['where']}: {said}."
        case "inferred":
            said = f"{count(len(f['settings']), 'inferred setting')}: {listed(f['settings'])}"
            why = "its authors may have chosen otherwise"
            return f"{said}. The source does not state them; {why}."
        case "size":
            said = f"{f['parameters']:,} parameters, {f['expected']:,}"
            if f["narrow"]:
                said += " at full width. A narrow network fits less than the published one."
            else:
                said += " expected. This is not the network that its family lists."
            return f"size of the network: {said}"
        case "unlike_runs":
            return f"runs that are not alike: {listed(f['kinds'])}. Compare them seed by seed."
        case "diverged":
            said = f"{f['diverged']} of {runs}, the first: {reason}"
            others = " The mean error is that of the others." if f["diverged"] < f["runs"] else ""
            return f"diverged runs: {said}.{others}"
        case "seeds":
            said, luck = runs, "counts as one run; its luck is unknown"
            if f["reach"] is not None:
                reach = f"±{f['reach']:.2f} pp"
                more = text.more_runs(f["median_of"])
                first = f"by the first {f['look']}, " if f["look"] < f["runs"] else ""
                said += f", sd {f['sd']:.2f} pp; {first}{more} is expected within {reach}"
            if f["median_of"]:
                luck = f"is a median of {f['median_of']}, so that luck moves it less"
            return f"seeds: {said}." + (f" The published number {luck}." if f["published"] else "")
        case "underfitted":
            why = "even the training error is higher than the published test error"
            return f"fit: {_errors(f)}. Underfitted: {why}."
        case "memorised":
            points = f"At least {f['corrupted'] - f['train']:.0f} % of the training labels"
            return f"fit: {_errors(f)}. {points} are corrupted and were memorised."
        case "overfitted":
            why = "what is missing is generalisation, not training"
            return f"fit: {_errors(f)}. Overfitted: {why}."
        case "still_falling":
            said = f"the test error fell by {f['fall']:.2f} pp over the last tenth of the epochs "
            said += f"(at least one; mean of {runs}); chance explains up to {f['limit']:.2f} pp"
            why = "The error still falls at the end: longer training may lower it."
            return f"learning curve: {said}. {why}"
        case "best_epoch":
            epochs, gain = listed(f["epochs"]), f"{f['gain']:.2f} pp lower"
            why = "A source that reports its best epoch publishes that; here the last one counts."
            said = f"the best epoch on the test set ({epochs}) is {gain}"
            return f"last epoch against best: {said}. {why}"


def _changes(f: Mapping[str, Any]) -> str:
    """Return each setting that was changed, its value, and the source's where it is known."""
    said = []
    for path, *values in f["changes"]:
        value, *source = map(_value, values)
        said.append(f"{path} {value}" + (f" (source {source[0]})" if source else ""))
    return listed(said)


def _value(value: object) -> str:
    if value is None:
        return "unset"
    return value if isinstance(value, str) else json.dumps(value)


def _work(f: Mapping[str, Any]) -> str:
    seen, source = f["images"], f["source_images"]
    if seen == source:
        return ""
    share = f"{100 * seen / source:.3g} % of the source's {source:,}" if source else "source: none"
    return f"trains on {seen:,} images in all, {share}"


def _errors(f: Mapping[str, Any]) -> str:
    alone = f" where corrupted labels alone give {f['corrupted']:.0f} %" if f["corrupted"] else ""
    train, test = f"{f['train']:.2f} % in the last epoch", f"{f['test']:.2f} %"
    return f"training error {train}{alone}, test error {test}"
