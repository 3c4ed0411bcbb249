"""The replication report of one page, written from records: every number in it is computed.

The prose is Markdown; each sentence links the page whose table it is from. What a tier, a data set
or the number of seeds does not allow is not said: the verdicts decide that, not the prose.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import get_args

from resbench.analysis.cells import Place
from resbench.analysis.judge import JudgedTable
from resbench.analysis.measured import all_measured
from resbench.analysis.names import bounds, listed, mean_sd, p_value, sentence, signed
from resbench.datasets import DATA_SETS
from resbench.report import lessons
from resbench.report.details import EFFECTS, later_seeds_note, with_step
from resbench.report.document import Grid
from resbench.report.page import MARKS, printed_text
from resbench.report.render.markdown import escape
from resbench.report.replication import (
    JUDGED,
    Replication,
    as_markdown,
    bullets,
    figure_links,
    page_link,
)
from resbench.stats.claims import ClaimKind
from resbench.suite.catalog import PAPER
from resbench.suite.expand import parsed_claims
from resbench.suite.schema import ERROR_METRICS
from resbench.words import count


def replication_report(replication: Replication) -> str:
    """Return the whole page as Markdown."""
    sections = [
        ("", [_sources(replication), abstract(replication)]),
        ("Scope", _scope(replication)),
        ("Claims", _claims(replication)),
        ("Method", _method(replication)),
        ("Printed and ours", _tables(replication)),
        ("What was easy", lessons.easy(replication)),
        ("What was hard", lessons.hard(replication)),
        ("What differs, and why", lessons.differs(replication)),
        (
            f"What the numbers of {lessons.misprinting(replication)} are",
            lessons.unlike_print(replication),
        ),
        ("Where the runs come from", lessons.provenance(replication)),
    ]
    parts = ["# Replication report"]
    for title, paragraphs in sections:
        body = list(paragraphs)
        if body:
            parts += [f"## {title}"] if title else []
            parts += body
    return "\n\n".join(parts) + "\n"


def claims_grid(replication: Replication, *, closest: bool = False) -> Grid | None:
    """Return every claim with runs, a row for each setting that can decide it; None without any.

    Of the settings, the one ``closest`` to print alone if so asked.
    """
    several, rows = len(replication.settings) > 1, []
    for table, item in replication.claims(closest=closest):
        verdict = item.verdict
        rows.append((
            with_step(item.claim.text, verdict),
            signed(verdict.evidence.printed_difference),
            signed(verdict.effect_pp),
            bounds(verdict.interval),
            str(verdict.evidence.estimate.n),
            p_value(verdict.adjusted_p),
            verdict.kind.replace("_", " "),
            *([replication.short(table)] if several else []),
        ))  # fmt: skip
    levels = {f"{1 - 2 * item.claim.alpha:.0%}" for _, item in replication.claims()}
    interval = f"interval\n{listed(sorted(levels))}"
    header = ["claim", "printed\npp", "ours\npp", interval, "seeds", "p\nHolm", "verdict"]
    header += ["setting"] if several else []
    return Grid(tuple(header), tuple(rows), "lrrrrrll"[: len(header)]) if rows else None


def claims_notes(replication: Replication, *, closest: bool = False) -> Iterator[str]:
    """Say what to mind about the claims: settings, errors so far from print's, later seeds."""
    if len(replication.settings) > 1:
        yield (
            "A claim stands in the setting closest to its source's that has three seeds; the "
            "figure shows the others too."
            if closest
            else "A claim has a row for every setting with three seeds, the one closest to its "
            "source's first; the figure shows those with fewer too."
        )
    far = {
        replication.short(tables[0]): [table for table in tables if not table.as_printed]
        for tables in replication.settings.values()
    }
    ranges = [f"{errors} in {escape(name)}" for name, ts in far.items() if (errors := _errors(ts))]
    if ranges:
        yield (
            f"Test errors of these networks are {', '.join(ranges)}; the printed ones are of "
            "networks trained to their end. An order here may be one of how fast networks learn."
        )
    for tables in replication.settings.values():
        if note := later_seeds_note(tables, sentence(replication.short(tables[0]))):
            yield escape(note)


def _errors(tables: Sequence[JudgedTable]) -> str:
    """Return the range of the test errors of the cells that claims are about, beside chance."""
    errors: dict[str, list[float]] = {}
    for table in tables:
        claimed = {name: None for p in parsed_claims(table.table.expanded) for name in p.cells}
        for cell in (table.table.cells[name] for name in claimed):
            if cell.cell.spec is not None:
                known = all_measured(cell.done, "test_top1_err")
                errors.setdefault(cell.cell.spec.data.name, []).extend(known)
    ranges = []
    for name, known in errors.items():
        chance = 100 * (1 - 1 / DATA_SETS[name].classes)
        if known:
            ranges.append(f"{min(known):.1f} to {max(known):.1f} % (chance is {chance:.0f} %)")
    return " and ".join(ranges)


def _sources(replication: Replication) -> str:
    """Return what is replicated, each document with its link where it has one."""
    loaded = (tables[0].table.expanded.loaded for tables in replication.tables.values())
    sources = dict.fromkeys(source for suite in loaded for source in suite.sources)
    names = [f"[{escape(s.title)}]({s.link})" if s.link else escape(s.title) for s in sources]
    return (
        f"Tables of {listed(names)}, run by `resbench` and set beside print; every number is "
        "computed from the records of runs."
    )


def abstract(replication: Replication) -> str:
    """Return what was run, setting by setting, and what it says."""
    if not replication.records:
        return "No run is recorded yet."
    asked = sum(len(tables[0].claims) for tables in replication.tables.values())
    settings = count(len(replication.settings), "setting")
    shared = f", all on {escape(replication.shared)}" if replication.shared else ""
    parts = [f"{count(len(replication.records), 'run')} in {settings}{shared}."]
    if not any(table.as_printed for table in replication.with_runs):
        parts.append(
            "No setting is the printed one: no printed number is supported or refuted, and every "
            "verdict on a claim holds for its setting alone."
        )
    if replication.results.problems:
        parts.append(
            f"{count(len(replication.results.problems), 'run')} refused as damaged or forged, in "
            "no table (`resbench status` names them)."
        )
    lines = []
    for name, tables in replication.settings.items():
        where = sentence(replication.short(tables[0]) if replication.shared else name)
        tier = tables[0].table.expanded.tier
        what = f"{tier.title}. " if tier.name != PAPER.name else ""
        kinds = Counter(item.verdict.kind for table in tables for item in table.claims)
        del kinds["not_run"]
        counts = listed(
            f"{kinds[k]} {k.replace('_', ' ')}" for k in get_args(ClaimKind) if kinds[k]
        )
        judged = f"{sum(kinds.values())} of {asked} claims of the sources have runs"
        lines.append(escape(f"{where}: {what}{judged}{f': {counts}' if counts else ''}."))
    return "\n\n".join([" ".join(parts), *([bullets(lines)] if lines else [])])


def _scope(replication: Replication) -> Iterator[str]:
    rows = []
    for name, tables in replication.settings.items():
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
    kinds = Counter(_best_kind(replication, suite) for suite in _printed_errors(replication))
    total, judged = sum(kinds.values()), sum(kinds[kind] for kind in JUDGED)
    verdicts = listed(f"{kinds[kind]} {kind}" for kind in JUDGED if kinds[kind])
    yield (
        f"Of {total} places with a printed error {judged} were run at the printed setting"
        + (f" ({verdicts})" if verdicts else "")
        + f", {kinds['not_comparable']} in another one, {kinds['not_run']} not at all. The printed "
        "setting is the source's own: its data set, network, schedule and batch."
    )


def _printed_errors(replication: Replication) -> Iterator[tuple[str, str, str]]:
    """Yield suite, row and column of every printed error of a trained table."""
    for name, tables in replication.tables.items():
        for place in tables[0].places:
            trained = place.kind != "skipped" and place.metric in ERROR_METRICS
            if trained and place.printed and place.printed.value:
                yield name, place.row, place.column


def _best_kind(replication: Replication, where: tuple[str, str, str]) -> str:
    """Return the verdict on a place in the context that says most about it."""
    suite, *at = where
    kinds = [p.kind for t in replication.tables[suite] for p in t.places if [p.row, p.column] == at]
    order = (*JUDGED, "not_comparable", "not_run")
    return min(kinds, key=lambda kind: order.index(kind) if kind in order else len(order))


def _claims(replication: Replication) -> Iterator[str]:
    grid = claims_grid(replication)
    if grid is not None:
        yield as_markdown(grid)
        yield from claims_notes(replication)
    yield from figure_links(replication.drawn("claims"))
    waiting = sum(
        all(table.claims[i].verdict.kind == "not_run" for table in tables)
        for tables in replication.tables.values()
        for i in range(len(tables[0].claims))
    )
    yield (
        f"{EFFECTS} {count(waiting, 'claim')} without runs in any setting: see the suites' pages."
    )


def _method(replication: Replication) -> Iterator[str]:
    name = "docs/statistics.md"
    method = f"[{name}]({replication.method})" if replication.method else f"{name} of resbench"
    protocols = dict.fromkeys(t.table.expanded.loaded.protocol.title for t in replication.with_runs)
    yield bullets([
        f"Training follows {listed(protocols)}; each setting of it is marked as the source's, "
        "inferred or a deviation in the ledger of every suite's page.",
        "The last epoch is scored. The best one on the test set is shown beside it and never used.",
        "Arms of a claim share their seeds: the same order of images, the same augmentation, the "
        "same corrupted labels. Tests are paired over seeds, and Holm's correction covers the "
        "claims of a suite; fewer than three seeds decide nothing.",
        f"Formulas, sources and measured coverage: {method}.",
    ])  # fmt: skip


def _tables(replication: Replication) -> Iterator[str]:
    suites: dict[str, list[JudgedTable]] = {}
    for table in replication.distinct:
        if any(place.values for place in table.places):
            suites.setdefault(table.suite, []).append(table)
    for suite, tables in suites.items():
        title = tables[0].table.expanded.loaded.suite.title
        yield f"**{escape(title)}** ({page_link(suite)}):"
        yield as_markdown(compact_grid(replication, tables))
        yield from figure_links(replication.drawn("noise", suite))
    yield "Ours: mean ± sd over seeds (how many; 2/3: one is missing), last epoch."


def compact_grid(replication: Replication, tables: Sequence[JudgedTable]) -> Grid:
    """Return a suite in the source's shape: for every column of errors printed, and ours."""
    suite = tables[0].table.expanded.loaded.suite
    columns = [
        name for name in suite.table.columns
        if any(p.column == name and p.metric in ERROR_METRICS for p in tables[0].places)
    ]  # fmt: skip
    several, levels = len(replication.settings) > 1, suite.matrix[suite.table.rows]
    header, cells = [suite.table.row_header], [[level.label for level in levels.values()]]
    for name in columns:
        header.append(f"{suite.table.columns[name].label}\nprinted")
        cells.append([printed_text(place) for place in tables[0].places if place.column == name])
        for table in tables:
            ours = [_ours(place) for place in table.places if place.column == name]
            if any(ours):
                header.append(f"ours\n{replication.short(table)}" if several else "ours")
                cells.append(ours)
    return Grid(tuple(header), tuple(zip(*cells, strict=True)), "l" + "r" * (len(header) - 1))


def _ours(place: Place) -> str:
    if place.mean is None:
        lost = len(place.cell.diverged)
        return f"{lost} diverged" if lost else ""
    ours = mean_sd(place.mean, place.sd, len(place.values), len(place.cell.seeds))
    mark = MARKS[place.kind][0] if place.kind in JUDGED else ""
    return f"{ours} {mark}".strip()
