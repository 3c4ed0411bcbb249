"""What separates our number from the printed one before any result is looked at, a check each.

Every check looks at one cell in one context and yields findings, each with the number that shows
it; :mod:`resbench.analysis.symptoms` has those of the results, and :mod:`resbench.report.explain`
ranks them all. Differences are percentage points of error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from resbench.analysis.cells import Place, catalogued, full_width, parameters
from resbench.analysis.declared import images_seen
from resbench.analysis.judge import place_notes
from resbench.analysis.names import METRICS, SPLITS, code_label, listed
from resbench.analysis.tables import FilledCell, FilledTable
from resbench.store.metrics import EpochMetrics
from resbench.suite.expand import Cell, Expanded
from resbench.suite.ledger import UNMARKED, Entry, ledger
from resbench.suite.schema import ERROR_METRICS
from resbench.suite.spec import RunSpec
from resbench.words import count

Weight = Literal["not_comparable", "explains", "unknown", "ruled_out", "same_in_all_runs"]
Kind = Literal["cause", "symptom", "runs"]

PRINTED = "the printed number"
"""What findings about print itself are about."""

NOTICEABLE_PP = 0.1
"""Less than this is printed as explaining next to nothing."""


@dataclass(frozen=True)
class Finding:
    """One possible reason."""

    about: str
    evidence: str
    """What was found, with its number."""
    why: str
    """Why it matters."""
    points: float | None = None
    """The most that it can explain; infinite: the numbers are not about one thing; None: unknown;
    0: looked at and ruled out."""
    kind: Kind = "cause"
    """A cause; a symptom, which is how a difference shows; or what our runs have in common, which
    says nothing about print."""

    @property
    def weight(self) -> Weight:
        """Which kind of answer it is."""
        if self.points is None:
            return "unknown"
        if math.isinf(self.points):
            return "not_comparable"
        if self.points > 0:
            return "explains"
        return "same_in_all_runs" if self.kind == "runs" else "ruled_out"

    @property
    def rank(self) -> tuple[int, float]:
        """Sort key: what explains most first, what is ruled out last."""
        points = self.points if self.points is not None else 0.0
        if self.weight == "unknown":
            return (2, 0.0)
        if self.weight == "explains":
            return (1 if points >= NOTICEABLE_PP else 3, -points)
        return ({"not_comparable": 0, "ruled_out": 4, "same_in_all_runs": 5}[self.weight], 0.0)


@dataclass(frozen=True)
class Subject:
    """One cell in one context."""

    table: FilledTable
    declared: Expanded
    """The suite as its source declares it."""
    cell: FilledCell
    places: tuple[Place, ...]
    """The places of the table that the cell fills, judged."""
    epochs: tuple[tuple[EpochMetrics, ...], ...]
    """Of the finished runs."""

    @property
    def spec(self) -> RunSpec:
        """The cell's specification at its first seed."""
        assert self.cell.cell.spec is not None
        return self.cell.cell.spec

    @property
    def place(self) -> Place | None:
        """The printed error that is to be explained."""
        printed = (p for p in self.places if p.printed and p.printed.value)
        return next((p for p in printed if p.metric in ERROR_METRICS), None)

    def mean(self, values: Callable[[EpochMetrics], float]) -> float:
        """Return the mean over runs of a number of their last epoch."""
        return math.fsum(values(rows[-1]) for rows in self.epochs) / len(self.epochs)


def what_is_printed(subject: Subject) -> Iterator[Finding]:
    """Compare the split that the source names with the one that the number is of."""
    for place in subject.places:
        if place.printed is None or place.metric not in ERROR_METRICS:
            continue
        claimed, really = place.printed.claims, place.printed.really or place.printed.claims
        notes = " ".join(place_notes(place))
        unlike = place.mean is not None and place.difference is None
        if place.printed.value and (unlike or really == "unknown"):
            yield Finding(
                PRINTED,
                f"{place.printed.value}: {notes}",
                "Another quantity: no difference to it means anything.",
                math.inf,
            )
        elif really and really != "test" and really != claimed:
            yield Finding(
                PRINTED,
                f"{place.printed.value} is printed as {SPLITS[claimed or 'unspecified']} and is the"
                f" {SPLITS[really]}; ours beside it is the {METRICS[place.metric]}",
                "Like stands beside like, so the split explains nothing; as a test error it would.",
                0.0,
            )


def settings(subject: Subject) -> Iterator[Finding]:
    """Name the deviations in force, by what set them, with the values that the source has."""
    groups: dict[str, list[Entry]] = {}
    for entry in ledger(subject.table.expanded, subject.cell.cell):
        if entry.origin == "deviation":
            groups.setdefault(entry.place or entry.layer, []).append(entry)
    for place, entries in groups.items():
        changed = listed(_changes(entries, subject.declared.cell(subject.cell.cell.id)))
        reason = entries[0].reason or ""
        if entries[0].path == "data.id":
            evidence, why = reason, "Other images have other errors."
        elif place.startswith(("tier ", "--scale", "--set")):
            evidence = f"{changed}; {_work(subject)}" if changed else _work(subject)
            why = "Another experiment: its errors say nothing about the printed ones."
        elif reason == UNMARKED:
            evidence = f"{listed(f'{e.path} {_plain(e.value)}' for e in entries)} is {reason}"
            why = "Nothing tells whether the source has it too."
        else:
            evidence, why = f"{reason}{f': {changed}' if changed else ''}", "A knowing difference."
        decisive = place.startswith(("tier ", "--scale", "--set", "data "))
        yield Finding(place, evidence, why, math.inf if decisive else None)


def inferred(subject: Subject) -> Iterator[Finding]:
    """Name the settings that the source leaves open."""
    paths = [e.path for e in ledger(subject.table.expanded, subject.cell.cell)
             if e.origin == "inferred" and e.path not in ("seed", "precision")]  # fmt: skip
    if paths:
        why = "The source does not state them; its authors may have chosen otherwise."
        yield Finding(f"{count(len(paths), 'inferred setting')}", listed(paths), why)


def architecture(subject: Subject) -> Iterator[Finding]:
    """Compare parameters and multiply-accumulates with the catalogue and with print."""
    ours, expected = parameters(subject.cell), full_width(subject.spec)
    entry = catalogued(subject.spec)
    if ours is None or expected is None or entry is None:
        return
    name, printed = "size of the network", f", printed {entry.printed}" if entry.printed else ""
    if subject.spec.model.width != 1:
        share = f"{ours:,} parameters, {100 * ours / expected:.1f} % of {expected:,} at full width"
        yield Finding(name, share, "A narrow network fits less than the printed one.")
        return
    macs = [run.model.macs / 1e6 for run in subject.cell.records]
    native = subject.spec.data.image_px is None
    work = f", {macs[0]:.1f} M multiply-accumulates" if macs else ""
    work += f", {entry.macs_m:.1f} M expected" if macs and native else ""
    off = macs and native and abs(macs[0] - entry.macs_m) > 0.06
    evidence = f"{ours:,} parameters, {expected:,} expected{printed}{work}"
    unresolved = entry.note is not None and entry.note.startswith("unresolved")
    if ours != expected or off or unresolved:
        why = entry.note or "It is not the network that the catalogue describes."
        yield Finding(name, evidence, f"{why[0].upper()}{why[1:]}.".replace("..", "."))
    else:
        yield Finding(name, evidence, "The network has the size that it should have.", 0.0)


def images(subject: Subject) -> Iterator[Finding]:
    """Compare the fingerprints of the images that the runs saw."""
    prints = dict.fromkeys(run.data.fingerprint[:16] for run in subject.cell.records)
    if len(prints) > 1:
        yield Finding("images", f"fingerprints {listed(prints)}", "The runs saw different images.")
    elif len(subject.cell.records) > 1:
        same = f"fingerprint {listed(prints)} in {count(len(subject.cell.records), 'run')}"
        yield Finding("images", same, "Images do not separate our runs.", 0.0, "runs")


def code(subject: Subject) -> Iterator[Finding]:
    """Name the versions of resbench behind the runs."""
    versions = dict.fromkeys(code_label(run) for run in subject.cell.records)
    if len(versions) > 1:
        yield Finding("code", listed(versions), "Several versions: compare them seed by seed.")
    elif versions:
        yield Finding("code", listed(versions), "Code does not separate our runs.", 0.0, "runs")


def _changes(entries: Sequence[Entry], source: Cell) -> Iterator[str]:
    """Yield ``model.width 0.25 (source 1.0)`` for each scalar that a source sets otherwise."""
    for entry in entries:
        leaf = source.leaves.get(tuple(entry.path.split(".")))
        if leaf is not None and leaf.value != entry.value and not isinstance(entry.value, list):
            yield f"{entry.path} {_plain(entry.value)} (source {_plain(leaf.value)})"


def _plain(value: object) -> str:
    return "unset" if value is None else value if isinstance(value, str) else json.dumps(value)


def _work(subject: Subject) -> str:
    ours = images_seen(subject.spec)
    spec = subject.declared.cell(subject.cell.cell.id).spec
    theirs = images_seen(spec) if spec is not None else ours
    return (
        f"trains on {ours:,} images in all, {100 * ours / theirs:.3g} % of the source's {theirs:,}"
    )
