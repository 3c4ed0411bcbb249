"""The second half of the replication report: what was easy, hard, different, and what print is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence, Set

from resbench.analysis.cells import Place
from resbench.analysis.judge import JudgedTable
from resbench.analysis.names import SPLITS, code_label, listed, place_label, sentence
from resbench.report.document import Grid
from resbench.report.explain import explain_cell, sentence_of
from resbench.report.render.markdown import escape
from resbench.report.replication import (
    Replication,
    as_markdown,
    bullets,
    page_link,
)
from resbench.suite.schema import ERROR_METRICS, TEXT_METRICS
from resbench.words import count

SIZES = frozenset({"params_m"})
LAYERS = TEXT_METRICS | {"depth"}


def easy(replication: Replication) -> Iterator[str]:
    """Say what came out as printed, or worked, without further ado."""
    lines = []
    kinds = {
        "printed parameter counts are met after rounding": SIZES,
        "printed layers, output sizes and depths are as built": LAYERS,
    }
    for what, metrics in kinds.items():
        counted = _counted(replication, metrics)
        same = sum(place.kind == "equal" for _, place in counted)
        suites = listed(page_link(suite) for suite in dict.fromkeys(s for s, _ in counted))
        lines.append(f"{same} of {len(counted)} {what} ({suites}).")
    runs = replication.records
    if runs:
        lost = sum(run.status == "diverged" for run in runs)
        minutes = sorted(run.timing.total_s / 60 for run in runs)
        resumed = sum(run.timing.resumed > 0 for run in runs)
        lines += [
            f"{len(runs) - lost} of {count(len(runs), 'run')} ended with a result and {lost} "
            f"diverged; a run took {minutes[0]:.1f} to {minutes[-1]:.1f} minutes; "
            f"{resumed} resumed from a checkpoint.",
            f"{replication.verified} of {len(runs)} records agree with their stored predictions "
            "and epochs (`resbench verify`).",
        ]
    yield bullets(lines)


def hard(replication: Replication) -> Iterator[str]:
    """Say what the sources leave open or contradict."""
    inferred: dict[str, set[str]] = {}
    for table in replication.sources.values():
        protocol = table.table.expanded.loaded.protocol
        for mark in table.marks:
            if mark.origin == "inferred" and mark.layer == f"protocol {protocol.name}":
                inferred.setdefault(protocol.title, set()).add(mark.path)
    lines = [
        f"{escape(protocol)}: {count(len(paths), 'setting')} stated nowhere and inferred: "
        f"{escape(listed(sorted(paths)))} (*Ledger* on each page)."
        for protocol, paths in inferred.items()
    ]
    unequal: dict[tuple[str, str], list[str]] = {}
    for suite, place in _counted(replication, SIZES | LAYERS):
        if place.kind == "differs":
            loaded = replication.sources[suite].table.expanded.loaded
            where = place_label(loaded, place.row, place.column)
            unequal.setdefault((suite, place.text), []).append(where)
    lines += [
        f"{escape('; '.join(places))}: {escape(text)} ({page_link(suite)})"
        for (suite, text), places in unequal.items()
    ]
    unlike = _unlike(replication)
    if unlike:
        lines.append(
            f"In {count(len(unlike), 'place')} {misprinting(replication)} prints an error of "
            "another split than it says, or of none that it says (below)."
        )
    yield bullets(lines)


def differs(replication: Replication) -> Iterator[str]:
    """Say for every setting what makes its numbers others, and where the difference is largest."""
    for name, tables in replication.settings.items():
        common, farthest = dict[str, None](), list[tuple[float, str]]()
        for table in (table for table in tables if table in replication.distinct):
            place = _farthest(table)
            if place is None or place.mean is None or place.difference is None:
                continue
            found = explain_cell(table.table, table.places, place.cell.cell.id).findings
            common |= dict.fromkeys(sentence_of(f) for f in found if f.weight == "not_comparable")
            symptoms = (f for f in found if f.weight == "explains" and f.about != "seeds")
            symptom = next(symptoms, None)
            why = sentence_of(symptom) if symptom else "no check explains a part of it"
            where = escape(place_label(table.table.expanded.loaded, place.row, place.column))
            printed = place.printed.value if place.printed else ""
            text = f"Farthest from print: {where} ({page_link(table.suite)}), {place.mean:.2f} "
            text += f"against {printed}. {escape(sentence(why))}"
            farthest.append((abs(place.difference), text))
        if farthest:
            yield f"**{escape(sentence(name))}**, by `resbench explain`:"
            yield bullets([*map(escape, common), max(farthest)[1]])


def misprinting(replication: Replication) -> str:
    """Return the sources, each the first of a suite, that print an error as another than it is."""
    suites = (replication.sources[suite].table.expanded.loaded for suite, _ in _unlike(replication))
    return listed(dict.fromkeys(suite.sources[0].title for suite in suites))


def unlike_print(replication: Replication) -> Iterator[str]:
    """List the printed errors that are not what they are printed as."""
    rows = []
    for suite, place in _unlike(replication):
        loaded = replication.sources[suite].table.expanded.loaded
        printed = place.printed
        assert printed is not None
        rows.append((
            suite,
            place_label(loaded, place.row, place.column),
            printed.value or "",
            SPLITS[printed.claims] if printed.claims else "",
            SPLITS[printed.really] if printed.really else "",
            printed.note or "",
        ))  # fmt: skip
    if rows:
        yield (
            "By the authors' published code, logs and notebooks. Ours are set beside what a number "
            "is, never a test error beside a training error."
        )
        header = ("suite", "place", "printed", "printed as", "is", "note")
        yield as_markdown(Grid(header, tuple(rows), "llrlll"))


def provenance(replication: Replication) -> Iterator[str]:
    """List the code, the data and the machines behind the records."""
    runs = replication.records
    if not runs:
        return
    where = {
        "Code": [code_label(run) for run in runs],
        "Data": [f"{run.data.label}, fingerprint {run.data.fingerprint[:16]}" for run in runs],
        "Devices": [f"{r.environment.device_name}, torch {r.environment.torch}" for r in runs],
    }
    yield bullets([f"{what}: {escape(_counts(names))}." for what, names in where.items()])
    yield (
        "Every number leads to a run key on its suite's page, and `results/runs/KEY/` holds the "
        "specification, the epochs and the prediction for every test image."
    )


def _counts(names: Sequence[str]) -> str:
    found = Counter(names)
    return "; ".join(f"{name} ({count(found[name], 'run')})" for name in sorted(found))


def _counted(replication: Replication, metrics: Set[str]) -> list[tuple[str, Place]]:
    """Return the printed places that are counted, not trained, and their suites."""
    return [
        (suite, place)
        for suite, table in replication.sources.items()
        for place in table.places
        if place.metric in metrics and place.kind in ("equal", "differs")
    ]


def _unlike(replication: Replication) -> list[tuple[str, Place]]:
    """Return the printed errors that are another error than the source says."""
    return [
        (suite, place)
        for suite, table in replication.sources.items()
        for place in table.places
        if place.metric in ERROR_METRICS
        and place.printed
        and place.printed.claims
        and place.printed.really not in (None, place.printed.claims)
        and (place.printed.claims, place.printed.really) != ("train", "train_aug")
    ]


def _farthest(table: JudgedTable) -> Place | None:
    """Return the place with the largest difference from a printed error that was run."""
    places = [place for place in table.places if place.difference is not None and place.values]
    return max(places, key=lambda place: abs(place.difference or 0.0), default=None)
