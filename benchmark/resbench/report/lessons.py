"""The second half of the replication report: what was easy and hard, what differs, what print is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from resbench.report.blocks import Grid
from resbench.report.cells import Place
from resbench.report.evidence import (
    Evidence,
    as_markdown,
    bullets,
    page_link,
)
from resbench.report.explain import explain, sentence_of
from resbench.report.findings import Finding
from resbench.report.judged import JudgedTable
from resbench.report.labels import SPLITS, code_label, count, listed, place_label, sentence
from resbench.report.render_markdown import escape
from resbench.suite.schema import ERROR_METRICS, TEXT_METRICS


def easy(evidence: Evidence) -> Iterator[str]:
    """Say what came out as printed, or worked, without further ado."""
    lines = []
    for name, what in (("sizes", "printed parameter counts are met after rounding"),
                       ("layers", "printed layers and output sizes are as built")):  # fmt: skip
        counted = _counted(evidence, name == "layers")
        same, n = sum(place.kind == "equal" for _, place in counted), len(counted)
        if n:
            suites = listed(page_link(suite) for suite in dict.fromkeys(s for s, _ in counted))
            lines.append(f"{same} of {n} {what} ({suites}).")
    runs = evidence.records
    if runs:
        lost = sum(run.status == "diverged" for run in runs)
        minutes = sorted(run.timing.total_s / 60 for run in runs)
        resumed = sum(run.timing.resumed > 0 for run in runs)
        lines.append(
            f"{len(runs) - lost} of {count(len(runs), 'run')} ended with a result, {lost} diverged; a "
            f"run took {minutes[0]:.1f} to {minutes[-1]:.1f} minutes; {resumed} were interrupted and "
            "went on from a checkpoint (*Runs* of each page)."
        )
        lines.append(
            f"{evidence.verified} of {len(runs)} records are given back by their predictions and "
            "epochs (`resbench verify`)."
        )
    if lines:
        yield bullets(lines)


def hard(evidence: Evidence) -> Iterator[str]:
    """Say what the sources leave open or contradict."""
    lines = []
    inferred: dict[str, list[str]] = {}
    for tables in evidence.tables.values():
        loaded = tables[0].table.expanded.loaded
        for mark in tables[0].marks:
            if mark.origin == "inferred" and mark.layer == f"protocol {loaded.protocol.name}":
                inferred.setdefault(loaded.protocol.title, []).append(mark.path)
    for protocol, paths in inferred.items():
        names = sorted(set(paths))
        lines.append(
            f"{escape(protocol)}: {count(len(names), 'setting')} stated nowhere and inferred: "
            f"{escape(listed(names))} (*Ledger* of each page)."
        )
    for layers in (False, True):
        for suite, place in _counted(evidence, layers):
            if place.kind == "differs":
                loaded = evidence.tables[suite][0].table.expanded.loaded
                where = escape(place_label(loaded, place.row, place.column))
                lines.append(f"{where}: {escape(place.text)} ({page_link(suite)})")
    unlike = len(_unlike(evidence))
    if unlike:
        lines.append(
            f"{unlike} printed errors are not the error that they are printed as, or not known to "
            "be any: see below."
        )
    if lines:
        yield bullets(lines)


def differs(evidence: Evidence) -> Iterator[str]:
    """Say for every setting and suite what explains most of the largest difference."""
    for name, tables in evidence.settings.items():
        lines, common = [], dict[str, None]()
        for table in tables:
            place = _farthest(table)
            if place is None:
                continue
            found = _findings(evidence, table, place)
            common |= dict.fromkeys(
                escape(sentence_of(f)) for f in found if f.weight == "not_comparable"
            )
            loaded = table.table.expanded.loaded
            printed = place.printed.value if place.printed else ""
            causes = [sentence_of(f) for f in found if f.weight == "explains"][:2]
            why = " ".join(causes) or "No check explains a part of it."
            lines.append(
                f"{page_link(table.suite)}, {escape(place_label(loaded, place.row, place.column))}: "
                f"ours {place.mean:.2f}, printed {printed}, the largest difference of the table. "
                f"{escape(why)}"
            )
        if lines:
            yield f"**{escape(sentence(name))}**, by `resbench explain`:"
            yield bullets([*common, *lines])


def report_numbers(evidence: Evidence) -> Iterator[str]:
    """List the printed errors that are not what they are printed as."""
    rows = []
    for suite, place in _unlike(evidence):
        loaded = evidence.tables[suite][0].table.expanded.loaded
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
        yield "By its authors' published code, logs and notebooks; ours are set beside what they are."
        header = ("suite", "place", "printed", "printed as", "is", "note")
        yield as_markdown(Grid(header, tuple(rows), "llrlll"))


def provenance(evidence: Evidence) -> Iterator[str]:
    """List the code, the data and the machines behind the records."""
    runs = evidence.records
    if not runs:
        return
    code = Counter(code_label(run) for run in runs)
    data = Counter(f"{run.data.label}, fingerprint {run.data.fingerprint[:16]}" for run in runs)
    torch = Counter(f"{run.environment.device_name}, torch {run.environment.torch}" for run in runs)
    yield bullets([
        f"{what}: {escape('; '.join(f'{name} ({count(n, "run")})' for name, n in sorted(c.items())))}"
        for what, c in (("Code", code), ("Data", data), ("Devices", torch))
    ])  # fmt: skip
    yield (
        "Every number leads to a run key on its suite's page, and `results/runs/KEY/` holds the "
        "specification, the epochs and the prediction for every test image."
    )


def _counted(evidence: Evidence, layers: bool) -> list[tuple[str, Place]]:
    """Return the printed places that are counted: sizes in millions, or layers and output sizes."""
    metrics = {*TEXT_METRICS, "depth"} if layers else {"params_m"}
    return [
        (suite, place)
        for suite, tables in evidence.tables.items()
        for place in tables[0].places
        if place.metric in metrics and place.kind in ("equal", "differs")
    ]


def _unlike(evidence: Evidence) -> list[tuple[str, Place]]:
    """Return the printed errors whose split is not the one that the source names."""
    return [
        (suite, place)
        for suite, tables in evidence.tables.items()
        for place in tables[0].places
        if place.metric in ERROR_METRICS
        and place.printed
        and place.printed.really
        and place.printed.really != place.printed.claims
    ]


def _farthest(table: JudgedTable) -> Place | None:
    """Return the place with the largest difference from a printed error that was run."""
    places = [place for place in table.places if place.difference is not None and place.values]
    return max(places, key=lambda place: abs(place.difference or 0.0), default=None)


def _findings(evidence: Evidence, table: JudgedTable, place: Place) -> Sequence[Finding]:
    loaded = table.table.expanded.loaded
    for explanation in explain(loaded, place.cell.cell.id, evidence.results):
        if explanation.table.expanded.context == table.table.expanded.context:
            return explanation.findings
    return ()
