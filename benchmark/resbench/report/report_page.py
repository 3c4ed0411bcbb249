"""The report as documents: all of it, its index, a page for each suite, the finding for a README.

All are made of the same sections, so that they cannot contradict each other.
"""

from __future__ import annotations

import itertools
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from resbench.analysis.claims import JudgedClaim
from resbench.analysis.judge import JudgedCell, JudgedTable, Report
from resbench.analysis.names import SPLITS, listed, own_setting
from resbench.analysis.rows import cell_rows
from resbench.analysis.values import JudgedValue
from resbench.datasets import DATA_SETS
from resbench.report import document as doc
from resbench.report import text
from resbench.report.tables import claims_in_brief, claims_table, effects, table_blocks
from resbench.stats.guard import guessing_error
from resbench.suite.schema import SIGNAL_METRICS
from resbench.words import count

Figures = Mapping[tuple[str, str], tuple[doc.Figure, ...]]
"""By suite and id of the setting; those of all suites have neither."""
ALL, README, MASKS = ("", ""), ("", "README"), ("", "masks")
MOST_CLAIMS = 6
"""Shown in a README and on a terminal."""
JUDGED = ("replicated", "better", "worse", "undecided")
"""Verdicts on a published error at its own setting."""
AT_HOME = (*JUDGED, "not comparable", "diverged")
"""What becomes of one there."""
ELSEWHERE = "elsewhere"
"""What becomes of one that has runs in another setting only."""


def report_document(
    report: Report,
    figures: Figures | None = None,
    *,
    runs: str = "",
    method: str = "",
    index: bool = False,
    suites: Sequence[str] = (),
) -> doc.Document:
    """Return everything, or an ``index`` with links to the pages of the suites.

    ``suites`` are those that were asked for, none for all. ``runs`` is the path of the folder of
    runs from the document, for formats with links to runs; ``method`` that of the page on
    statistics.
    """
    figures = figures or {}
    several = index or len(report.by_suite) > 1
    summarised = several and report.runs
    blocks = _opening(
        report, _finding(report) if summarised else _settings(report, _elsewhere(report))
    )
    blocks += figures.get(README, ())
    if several and any(table.claims for table in report.tables):
        claims = _claims(report, list(report.claims()), runs)
        claims += figures.get(ALL, ()) if index else ()  # elsewhere the table itself draws them
        blocks += _section("Claims", [*claims, _method(report, method)])
    if several:
        blocks += _section("Suites", [_suites_table(report, links=index)])
    blocks += _suites(report, figures, runs, legend=not several) if not index else ()
    blocks += _section("What the masks do", _masks(figures))
    blocks += _section("Published errors", [*_published(report), *_mislabelled(report)])
    origin = [*(_settings(report) if summarised else ()), *_provenance(report)]
    blocks += _section("Where the runs come from", origin)
    blocks += _section("Run it again", _again(report, suites)) if not index else ()
    return doc.Document(blocks, report, cell_rows(report))


def summary_document(report: Report) -> doc.Document:
    """Return what was found in many suites without their tables, for a terminal."""
    blocks = [
        *_opening(report, _finding(report, MOST_CLAIMS) if report.runs else _settings(report)),
        *_section("Suites", [_suites_table(report, links=False)]),
        *_section("Published errors", _published(report)),
        doc.Paragraph(
            "All claims, tables and runs: `resbench report SUITE` shows one suite, "
            "`resbench report --output report.html` everything."
        ),
    ]
    return doc.Document(blocks, report, cell_rows(report))


def suite_document(report: Report, suite: str, figures: Figures) -> doc.Document:
    """Return the page of one suite."""
    heading = doc.Heading(1, f"{suite}: {report.by_suite[suite][0].title}")
    way = doc.Paragraph([doc.Link("All tables", "README.md")])
    blocks = _suite(report, suite, figures, "", legend=True)
    return doc.Document([heading, way, *blocks], report.by_suite[suite])


def readme_blocks(report: Report, figures: Figures, folder: str) -> list[doc.Block]:
    """Return what was found, in words and a picture, for a README above the pages' ``folder``."""
    first, *rest = _finding(report, MOST_CLAIMS)
    drawn = [replace(one, path=f"{folder}/{one.path}") for one in figures.get(README, ())]
    way = doc.Link(f"{folder}/", f"{folder}/README.md")
    more = (
        " has every claim and table, what differs from the published setting, and the runs behind "
        "it all."
    )
    return [first, *drawn, *rest, doc.Paragraph([way, more])]


def _finding(report: Report, most: int = 0) -> Iterator[doc.Block]:
    """Yield what was found, in words, and a table of no more than ``most`` claims.

    Claims of the sources come first, and what the runs say something of before what is undecided.
    """
    claims = list(report.claims(closest=True))
    asked = [claim.claim for tables in report.by_suite.values() for claim in tables[0].claims]
    said = ""
    for who, ours in (("The sources make", False), ("We add", True)):
        known = [claim for _, claim in claims if claim.claim.ours == ours]
        if n := sum(claim.ours == ours for claim in asked):
            said += f" {who} {count(n, 'claim')}, {len(known)} with runs so far"
            said += f": {_verdicts(known)}." if known else "."
    said = said or " No suite here makes a claim."
    yield doc.Paragraph([doc.Strong("What the runs show."), said, _elsewhere(report)])
    if most:
        claims = sorted(claims, key=_interest)[:most]
    settings = dict.fromkeys(_meaning(table) for table, _ in claims)
    for name, what in settings if most else ():
        yield doc.Paragraph(f"{text.sentence(name)}{f': {what}' if what else ''}.")
        yield claims_in_brief([pair for pair in claims if _meaning(pair[0]) == (name, what)])
    if most and claims:
        yield effects((claim for _, claim in claims), brief=True)
    elif changed := [f"{text.sentence(name)}: {what}." for name, what in settings if what]:
        yield doc.Items(changed)
    yield from _how_far(claims)


def _meaning(table: JudgedTable) -> tuple[str, str]:
    """Return a setting and what it changes: suites in two folders may have tiers of one name."""
    return table.setting.name, table.setting.changes


def _interest(pair: tuple[JudgedTable, JudgedClaim]) -> tuple[bool, bool, bool, bool, bool, int]:
    """Sort key: what the runs say something of, what a source claims, and what is decided first."""
    verdict, claim = pair[1].verdict, pair[1].claim
    open_, leans = verdict == "undecided", verdict in text.UNDECIDED
    about_sizes = claim.metric in SIGNAL_METRICS
    return open_, claim.ours, verdict == "not_learnt", leans, about_sizes, -pair[1].n


def _section(title: str, blocks: Iterable[doc.Block]) -> list[doc.Block]:
    """Return blocks below their title; nothing where there are none."""
    found = list(blocks)
    return [doc.Heading(2, title), *found] if found else []


def _verdicts(claims: Iterable[JudgedClaim]) -> str:
    kinds = Counter(text.CLAIMS[claim.verdict].text for claim in claims)
    words = dict.fromkeys(verdict.text for verdict in text.CLAIMS.values())
    return listed(f"{word} {kinds[word]}" for word in words if kinds[word])


def _settings(report: Report, caution: str = "") -> Iterator[doc.Block]:
    """Yield what was run, setting by setting, with the verdicts."""
    if report.runs:
        settings: dict[tuple[str, str], list[JudgedTable]] = {}
        for table in itertools.chain(*report.by_setting.values()):
            settings.setdefault(_meaning(table), []).append(table)
        said = f"{count(len(report.runs), 'run')} in {count(len(settings), 'setting')}."
        yield doc.Paragraph(said + caution)
        yield doc.Items([_setting_line(*setting, found) for setting, found in settings.items()])
    else:
        some = f" The results folder has {count(report.recorded, 'run')} for other tables or none."
        yield doc.Paragraph(
            f"No run of these tables is recorded yet.{some if report.recorded else ''}"
        )


def _opening(report: Report, summary: Iterable[doc.Block]) -> list[doc.Block]:
    """Return how a report begins: its ``summary``, what was refused, and the sources."""
    refused = f"Refused as damaged, and in no table ({len(report.problems)}):"
    return [
        doc.Heading(1, "Replication report"),
        *summary,
        *doc.items_below(refused, report.problems),
        _sources(report),
    ]


def _elsewhere(report: Report) -> str:
    """Return the caution where nothing published has been put to the test at its own setting."""
    errors, near = _errors(report), [t for t in report.with_runs if t.setting.published]
    judged = any(claim.has_runs for table in near for claim in table.claims)
    if judged or any(kind in AT_HOME for kinds in errors for kind in kinds):
        return ""
    said = "No run is at the published setting"
    if runs := {key for table in near for key in table.runs}:
        said = f"What was trained at the published setting, {count(len(runs), 'run')}, "
        said += "belongs to no published error and to no whole claim"
    n = len(errors)
    which = f"any of the {n} published errors" if n > 1 else "the one published error"
    nothing = f": nothing here confirms or refutes {which}"
    only = ", and a verdict on a claim holds for its setting only"
    claims = any(table.claims for table in report.tables)
    return f" {said}{nothing if n else ''}{only if claims else ''}."


def _setting_line(name: str, changes: str, tables: Sequence[JudgedTable]) -> doc.Prose:
    """Return what a setting is, what was run in it, and the verdicts on its claims."""
    runs = {key: run for table in tables for key, run in table.runs.items()}
    hours = sum(run.total_s for run in runs.values()) / 3600
    own = {choice.label for table in tables for choice in table.setting.data if choice.published}
    data = f", on {listed(sorted(own))}" if own else ""  # the name has all others
    asked = sum(len(table.claims) for table in tables)
    judged = [claim for table in tables for claim in table.claims if claim.has_runs]
    with_runs = f"none of {count(asked, 'claim')} has runs in all its cells"
    if judged or not asked:
        known = f"{len(judged)} of {count(asked, 'claim')} {'has' if asked == 1 else 'have'} runs"
        with_runs = known if asked else "no claims"
    said: list[doc.Part] = [
        f"{text.sentence(name)}{data}: {count(len(runs), 'run')}, {hours:.1f} device hours; "
        f"{with_runs}"
    ]
    for verdict, n in Counter(text.CLAIMS[claim.verdict] for claim in judged).items():
        said += [", " if said[1:] else ": ", doc.Verdict(f"{verdict.text} {n}", verdict.tone)]
    return (*said, f". Setting: {changes}." if changes else ".")


def _sources(report: Report) -> doc.Paragraph:
    """Return what is replicated, each document with its link where it has one."""
    cited = {source.title: source.link for table in report.tables for source in table.sources}
    linked: list[doc.Part] = []
    for i, (title, link) in enumerate(cited.items()):
        before = "Tables of " if not i else " and " if i == len(cited) - 1 else ", "
        linked += [before, doc.Link(title, link) if link else title]
    return doc.Paragraph([*linked, ". Every measured number is computed from the records of runs."])


def _suites_table(report: Report, *, links: bool) -> doc.Table:
    """Return a row for each table: how much has run and what came of it."""
    rows: list[list[doc.Cell]] = []
    for table in report.tables:
        kinds = Counter(value.verdict for value in table.values)
        agreement = [
            f"{kind} {kinds[kind]}" for kind in text.VALUES
            if kinds[kind] and kind != "not_comparable"
        ]  # fmt: skip
        asked = sum(len(cell.seeds) for cell in table.cells)
        waiting = f"{len(table.claims)} not run" if table.claims else ""
        page = f"{table.suite}.md"
        rows.append([
            *([doc.Link(table.suite, page), table.title] if links else [table.suite]),
            table.setting.name if table.has_runs else "",
            f"{len(table.runs)}/{asked}" if table.trained else "counted",
            listed(agreement),
            _verdicts(claim for claim in table.claims if claim.has_runs) or waiting,
        ])  # fmt: skip
    header = ("suite", *(["table"] if links else []), "setting", "runs", "values", "claims")
    return doc.Table(header, rows, "l" * (len(header) - 3) + "rll")


def _claims(
    report: Report, claims: Sequence[tuple[JudgedTable, JudgedClaim]], runs: str
) -> list[doc.Block]:
    several = len(report.by_setting) > 1
    suites = [
        f"{table.suite}, {table.setting.name}"
        if several and table.setting.name != own_setting(table.suite)
        else table.suite
        for table, _ in claims
    ]  # fmt: skip
    meaning = effects(claim for _, claim in claims)
    return [claims_table(claims, runs, suites), meaning] if claims else []


def _how_far(claims: Iterable[tuple[JudgedTable, JudgedClaim]]) -> Iterator[doc.Paragraph]:
    """Yield how far the networks behind claims have come, away from the published setting."""
    far: dict[str, list[JudgedCell]] = {}
    published = False
    for table, claim in claims:
        if not table.setting.published and claim.claim.metric not in SIGNAL_METRICS:
            own = (cell for cell in table.cells if cell.cell in claim.cells)
            far.setdefault(table.setting.name, []).extend(own)
            published |= bool(table.published_test_errors)
    known = {name: _error_range(cells) for name, cells in far.items()}
    if ranges := [f"{errors} in {name}" for name, errors in known.items() if errors]:
        whole = "; the published ones are of fully trained networks" if published else ""
        yield doc.Paragraph(
            f"Test errors of the networks behind the claims are {listed(ranges)}{whole}. The order "
            "here may show no more than which network learns faster."
        )


def _masks(figures: Figures) -> Iterator[doc.Block]:
    for figure in figures.get(MASKS, ()):
        yield doc.Paragraph(
            "Trunk, soft mask and output of every stage for test images, averaged over channels. "
            "The ends of each column's colour scale are below it. Trunk and output of a stage "
            "share a scale; a mask has its own, so a mask that hardly varies looks as strong as "
            "one that varies much. Drawn by `resbench masks` from the final weights, which are not "
            "kept here; each block names its run."
        )
        yield figure


def _method(report: Report, path: str) -> doc.Paragraph:
    asked = sum(len(tables[0].claims) for tables in report.by_suite.values())
    return doc.Paragraph((
        f"{count(asked, 'claim')} in all; those without runs are in the tables of the suites. "
        "A claim is judged at 3, 5 and 8 seeds; p is adjusted for these looks and for the number "
        "of claims in the suite, counting its sources' claims and ours separately. Errors are "
        "those of the last epoch, never of the best epoch on the test set. What each verdict means "
        "and how often it is wrong: ",
        doc.Link("docs/statistics.md", path) if path else "docs/statistics.md of resbench", ".",
    ))  # fmt: skip


def _error_range(cells: Iterable[JudgedCell]) -> str:
    """Return the range of the test errors of cells, with the error of guessing."""
    errors: dict[str, list[float]] = {}
    for cell in cells:
        known = [r.result.test_top1_err for r in cell.done if r.result.test_top1_err is not None]
        errors.setdefault(cell.data or "", []).extend(known)
    return " and ".join(
        f"{min(found):.1f} to {max(found):.1f} % (guessing gives "
        f"{guessing_error(DATA_SETS[name].classes):.0f} %)"
        for name, found in errors.items()
        if found
    )


def _published(report: Report) -> Iterator[doc.Block]:
    """Yield what became of the published numbers."""
    if errors := _errors(report):
        # of the settings with runs, that closest to the source's
        own = [next((kind for kind in kinds if kind in AT_HOME), "") for kinds in errors]
        verdicts = listed(f"{own.count(kind)} {kind}" for kind in AT_HOME if kind in own)
        open_ = [kinds for kinds, kind in zip(errors, own, strict=True) if not kind]
        elsewhere = sum(ELSEWHERE in kinds for kinds in open_)
        yield doc.Paragraph(
            f"Of {len(errors)} published errors, {len(errors) - len(open_)} have runs at the "
            f"published setting{f' ({verdicts})' if verdicts else ''}, {elsewhere} only in another "
            f"setting and {len(open_) - elsewhere} in none. The published setting is the source's: "
            "its data set, network, schedule and batch size. A number in several tables "
            "counts in each."
        )
    counted = [v.verdict for tables in report.by_suite.values() for v in tables[0].values]
    same, other = counted.count("equal"), counted.count("differs")
    if same + other:
        yield doc.Paragraph(
            f"{same} of {same + other} published sizes, layers and depths agree with the networks "
            "as built, after rounding."
        )


def _errors(report: Report) -> list[list[str]]:
    """Return what became of each published error in each setting of its suite."""
    return [
        [_outcome(table, value) for table, value in zip(tables, values, strict=True)]
        for tables in report.by_suite.values()
        for values in zip(*(table.values for table in tables), strict=True)
        if values[0].is_error and values[0].number and values[0].verdict != "skipped"
    ]


def _outcome(table: JudgedTable, value: JudgedValue) -> str:
    """Return what became of a published error in this setting; nothing without a run."""
    if value.outcome in JUDGED:
        return value.outcome
    if value.outcome == "not_run":
        return ""
    if not table.setting.published or value.departures:
        return ELSEWHERE
    return "diverged" if value.outcome == "diverged" else "not comparable"


def _mislabelled(report: Report) -> Iterator[doc.Block]:
    """Yield the published errors that are another kind of error than their table says."""
    rows = []
    for suite, (table, *_) in report.by_suite.items():
        for value in (value for value in table.values if value.is_error):
            if (published := value.published) is None or published.claims is None:
                continue
            claims, really = published.claims, published.really or published.claims
            if claims != really and (claims, really) != ("train", "train_aug"):
                said = SPLITS[claims], SPLITS[really], published.note or ""
                rows.append((f"{suite}: {table.label_of(value)}", value.number, *said))
    if rows:
        yield doc.Paragraph(
            "The authors' code, logs and notebooks show that the tables of these numbers name the "
            "wrong kind of error, or none. Measured errors are compared with what a number really "
            "is, never a test error with a training error."
        )
        yield doc.Table(("value", "number", "published as", "is", "note"), rows, "lrlll")


def _provenance(report: Report) -> Iterator[doc.Block]:
    """List the code, the data and the machines behind the records."""
    runs = report.runs.values()
    if not runs:
        return
    where = {
        "Code": Counter(run.code for run in runs),
        "Data": Counter(f"{run.data}, fingerprint {run.data_fingerprint[:16]}" for run in runs),
        "Devices": Counter(f"{run.device}, torch {run.torch}" for run in runs),
    }
    for what, found in where.items():
        each = [f"{name} ({count(n, 'run')})" for name, n in sorted(found.items())]
        yield doc.Paragraph(f"{what}: {'; '.join(each)}.")
    if changed := sum(bool(run.changes) for run in runs):
        yield doc.Paragraph(
            f"{count(changed, 'run')} resumed with other code or in another environment: the "
            "tables of runs say what changed."
        )
    yield doc.Paragraph(
        "The tables of each suite name the run keys behind every number. In the results folder, "
        "`runs/KEY/` holds the specification, the metrics of every epoch and the prediction for "
        "every test image; "
        "`resbench verify` recomputes every error and loss from them."
    )


def _again(report: Report, suites: Sequence[str]) -> Iterator[doc.Block]:
    commands = dict.fromkeys(table.command for table in report.with_runs)
    if commands:
        yield doc.Paragraph(
            "Each `run` trains what the results folder lacks and skips what is recorded; the last "
            "two commands recompute every record and this report."
        )
        # the folder is the last of a command's words
        _, option, folder = next(iter(commands)).partition(" --results ")
        again = shlex.join(["resbench", "report", *suites, "--output", "report.html"])
        last = ("resbench verify", again)
        yield from map(doc.Command, [*commands, *(f"{line}{option}{folder}" for line in last)])


def _suites(report: Report, figures: Figures, runs: str, *, legend: bool) -> Iterator[doc.Block]:
    """Yield the tables of every suite; those without runs are folded where others have some."""
    waiting = list[doc.Block]()
    for suite, tables in report.by_suite.items():
        title = f"{suite}: {tables[0].title}"
        own = list(_suite(report, suite, figures, runs, legend=legend))
        if report.with_runs and tables[0].trained and not tables[0].has_runs:
            waiting.append(doc.Fold(title, own))
        else:
            yield from _section(title, own)
    yield from _section("Without runs", waiting)


def _suite(
    report: Report, suite: str, figures: Figures, runs: str, *, legend: bool
) -> Iterator[doc.Block]:
    """Yield the tables of a suite with their figures, and the runs that are in none of them.

    The ``legend`` says what effects are, where nothing before it does.
    """
    tables = report.by_suite[suite]
    cited = "; ".join(f"{source.title}, {source.where}" for source in tables[0].sources)
    yield doc.Paragraph(f"{text.sentence(cited)}.")
    if n := report.unfinished.get(suite):
        yield doc.Paragraph(f"{count(n, 'unfinished run')}: `resbench status` lists them.")
    if n := report.outdated.get(suite):
        yield doc.Paragraph(
            f"{count(n, 'finished run')} made for a suite of this name but in none of its tables: "
            "the suite, its protocol, its networks.py, a tier or resbench has changed since, or "
            "another suite has the same name."
        )
    for table in tables:
        results = report.results if runs else ""
        yield from table_blocks(table, tables[0], results=results, runs=runs)
        yield from figures.get((suite, table.setting.id), ())
    judged = [claim for table in tables for claim in table.claims if claim.has_runs]
    if legend and judged:
        yield effects(judged)
