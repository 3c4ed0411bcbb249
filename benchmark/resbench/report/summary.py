"""The replication report of one page, written from records: every number in it is computed.

The prose is Markdown; each sentence links the page whose table it is from. What a tier, a data set
or the number of seeds does not allow is not said: the verdicts decide that, not the prose.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence

from resbench.data.catalog import NUM_CLASSES
from resbench.report import lessons
from resbench.report.blocks import Grid
from resbench.report.cells import Place
from resbench.report.details import EFFECTS, with_step
from resbench.report.evidence import (
    JUDGED,
    Evidence,
    as_markdown,
    bullets,
    figure_links,
    page_link,
    setting,
)
from resbench.report.judged import JudgedTable
from resbench.report.labels import bounds, listed, mean_sd, p_value, sentence, signed
from resbench.report.page import MARKS
from resbench.report.render_markdown import escape
from resbench.suite.expand import parsed_claims
from resbench.suite.schema import ERROR_METRICS
from resbench.words import count


def replication_report(evidence: Evidence) -> str:
    """Return the whole page as Markdown."""
    sections = [
        ("", [abstract(evidence)]),
        ("Scope", _scope(evidence)),
        ("Claims", _claims(evidence)),
        ("Method", _method(evidence)),
        ("Printed and ours", _tables(evidence)),
        ("What was easy", lessons.easy(evidence)),
        ("What was hard", lessons.hard(evidence)),
        ("What differs, and why", lessons.differs(evidence)),
        ("What the 2019 report's numbers are", lessons.report_numbers(evidence)),
        ("Where the runs come from", lessons.provenance(evidence)),
    ]
    parts = ["# What the committed runs show"]
    for title, paragraphs in sections:
        body = list(paragraphs)
        if body:
            parts += [f"## {title}"] if title else []
            parts += body
    return "\n\n".join(parts) + "\n"


def claims_grid(tables: Sequence[JudgedTable]) -> Grid | None:
    """Return every claim with runs and its verdict; None without any."""
    rows = []
    for table in tables:
        for item in table.claims:
            verdict = item.verdict
            if verdict.kind != "not_run":
                rows.append((
                    with_step(item.claim.text, verdict),
                    signed(verdict.evidence.printed_difference),
                    signed(verdict.effect_pp),
                    bounds(verdict.interval),
                    str(verdict.n),
                    p_value(verdict.adjusted_p),
                    verdict.kind.replace("_", " "),
                ))  # fmt: skip
    levels = {f"{1 - 2 * item.claim.alpha:.0%}" for table in tables for item in table.claims}
    interval = f"interval\n{listed(sorted(levels))}"
    header = ("claim", "printed\npp", "ours\npp", interval, "seeds", "p\nHolm", "verdict")
    return Grid(header, tuple(rows), "lrrrrrl") if rows else None


def arms_note(tables: Sequence[JudgedTable]) -> Iterator[str]:
    """Say how far from trained the arms of a setting's claims are, where chance is near."""
    errors, chance = [], 0.0
    for table in (table for table in tables if not table.as_printed):
        claimed = {name for p in parsed_claims(table.table.expanded) for name in p.cells}
        for cell in (table.table.cells[name] for name in claimed):
            errors += [run.result.test_top1_err for run in cell.done]
            if cell.done and cell.cell.spec is not None:
                chance = 100 * (1 - 1 / NUM_CLASSES[cell.cell.spec.data.name])
    known = [error for error in errors if error is not None]
    if known and statistics.median(known) > chance / 2:
        yield (
            f"Test errors of these arms are {min(known):.1f} to {max(known):.1f} %, chance is "
            f"{chance:.0f} %: they have hardly trained. An order among them may be one of how fast "
            "networks learn, and is not that of the printed ones."
        )


def abstract(evidence: Evidence) -> str:
    """Return what was run and what it says, in a few sentences."""
    if not evidence.records:
        return "No run is recorded yet."
    asked = sum(len(tables[0].claims) for tables in evidence.tables.values())
    settings = count(len(evidence.settings), "setting")
    parts = [f"{count(len(evidence.records), 'run')} in {settings}."]
    for name, tables in evidence.settings.items():
        kinds = Counter(item.verdict.kind for table in tables for item in table.claims)
        del kinds["not_run"]
        counts = listed(f"{n} {kind.replace('_', ' ')}" for kind, n in kinds.most_common())
        judged = f"{sum(kinds.values())} of {asked} claims of the sources have runs"
        parts.append(f"In {escape(name)} {judged}{f': {counts}' if counts else ''}.")
    if not any(table.as_printed for table in evidence.run):
        parts.append(
            "No setting is the printed one, so no printed number is judged, and every verdict on a "
            "claim holds for its setting alone."
        )
    if evidence.results.problems:
        parts.append(
            f"{count(len(evidence.results.problems), 'run')} refused as damaged or forged, in no "
            "table (`resbench status` names them)."
        )
    return " ".join(parts)


def _scope(evidence: Evidence) -> Iterator[str]:
    rows = []
    for name, tables in evidence.settings.items():
        runs = {run.key: run for table in tables for run in table.table.records}
        seeds = Counter(len(cell.done) for t in tables for cell in t.table.cells.values())
        del seeds[0]
        sizes = {(r.data.train_images, r.data.test_images) for r in runs.values()}
        hours = sum(run.timing.total_s for run in runs.values()) / 3600
        rows.append((
            name,
            listed(table.suite for table in tables),
            str(len(runs)),
            " to ".join(map(str, sorted({min(seeds), max(seeds)}))) if seeds else "0",
            listed(f"{train:,} + {test:,}" for train, test in sorted(sizes)),
            f"{hours:.1f}",
        ))  # fmt: skip
    header = (
        "setting",
        "suites",
        "runs",
        "seeds\na cell",
        "images\ntraining + test",
        "device\nhours",
    )
    if rows:
        yield as_markdown(Grid(header, tuple(rows), "llrrrr"))
    kinds = Counter(_best_kind(evidence, suite) for suite in _printed_errors(evidence))
    total, judged = sum(kinds.values()), sum(kinds[kind] for kind in JUDGED)
    verdicts = listed(f"{kinds[kind]} {kind}" for kind in JUDGED if kinds[kind])
    yield (
        f"Of {total} places with a printed error {judged} were run at the printed setting"
        + (f" ({verdicts})" if verdicts else "")
        + f", {kinds['not_comparable']} in another one, {kinds['not_run']} not at all. The printed "
        "setting is the source's own: its data set, network, schedule and batch."
    )


def _printed_errors(evidence: Evidence) -> Iterator[tuple[str, str, str]]:
    """Yield suite, row and column of every printed error of a trained table."""
    for name, tables in evidence.tables.items():
        for place in tables[0].places:
            trained = place.kind != "skipped" and place.metric in ERROR_METRICS
            if trained and place.printed and place.printed.value:
                yield name, place.row, place.column


def _best_kind(evidence: Evidence, where: tuple[str, str, str]) -> str:
    """Return the verdict on a place in the context that says most about it."""
    suite, *at = where
    kinds = [p.kind for t in evidence.tables[suite] for p in t.places if [p.row, p.column] == at]
    order = (*JUDGED, "not_comparable", "not_run")
    return min(kinds, key=lambda kind: order.index(kind) if kind in order else len(order))


def _claims(evidence: Evidence) -> Iterator[str]:
    for name, tables in evidence.settings.items():
        grid = claims_grid(tables)
        if grid is not None:
            pages = listed(page_link(table.suite) for table in tables if table.claims)
            yield f"**{escape(sentence(name))}** ({pages}):"
            yield as_markdown(grid)
            yield from arms_note(tables)
    yield from figure_links(evidence, "claims")
    waiting = sum(
        all(table.claims[i].verdict.kind == "not_run" for table in tables)
        for tables in evidence.tables.values()
        for i in range(len(tables[0].claims))
    )
    yield (
        f"{EFFECTS} {count(waiting, 'claim')} without runs in any setting: see the suites' pages."
    )


def _method(evidence: Evidence) -> Iterator[str]:
    name = "docs/statistics.md"
    method = f"[{name}]({evidence.method})" if evidence.method else f"{name} of resbench"
    protocols = dict.fromkeys(t.table.expanded.loaded.protocol.title for t in evidence.run)
    yield bullets([
        f"Training follows {listed(protocols)}; each setting of it is marked as the source's, "
        "inferred or a deviation in the ledger of every suite's page.",
        "The last epoch is scored. The best one on the test set is shown beside it and never used.",
        "Arms of a claim share their seeds: the same order of images, the same augmentation, the "
        "same corrupted labels. Tests are paired over seeds, and Holm's correction covers the "
        "claims of a suite; fewer than three seeds decide nothing.",
        f"Formulas, sources and measured coverage: {method}.",
    ])  # fmt: skip


def _tables(evidence: Evidence) -> Iterator[str]:
    for table in evidence.distinct:
        if any(place.values for place in table.places):
            title = table.table.expanded.loaded.suite.title
            where = f"{escape(setting(table))} ({page_link(table.suite)})"
            yield f"**{escape(title)}**, {where}:"
            yield as_markdown(compact_grid(table))
            yield from figure_links(evidence, f"{table.suite}-", "-noise")
    yield "Ours: mean ± sd over seeds (how many), last epoch."


def compact_grid(table: JudgedTable) -> Grid:
    """Return a table in the source's shape: printed and ours for every column of errors."""
    suite = table.table.expanded.loaded.suite
    columns = [
        name for name in suite.table.columns
        if any(p.column == name and p.metric in ERROR_METRICS for p in table.places)
    ]  # fmt: skip
    at = {(place.row, place.column): place for place in table.places}
    header = [suite.table.row_header]
    for name in columns:
        header += [f"{suite.table.columns[name].label}\nprinted", "ours"]
    rows = [
        (level.label, *(text for name in columns for text in _printed_and_ours(at[row, name])))
        for row, level in suite.matrix[suite.table.rows].items()
    ]
    return Grid(tuple(header), tuple(rows), "l" + "r" * (len(header) - 1))


def _printed_and_ours(place: Place) -> tuple[str, str]:
    printed = (place.printed.value or "") if place.printed else ""
    if place.mean is None:
        lost = len(place.cell.diverged)
        return printed, f"{lost} diverged" if lost else ""
    ours = mean_sd(place.mean, place.sd, len(place.values), len(place.cell.seeds))
    mark = MARKS[place.kind][0] if place.kind in JUDGED else ""
    return printed, f"{ours} {mark}".strip()
