"""``reports/``: a page for every suite, figures and the replication report, from records alone.

The same records give the same bytes: nothing here knows the time, the machine or its own version.
Figures also depend on the versions of matplotlib and NumPy; `make reports` draws with the pinned
ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from resbench.analysis.judge import Report, report
from resbench.analysis.results import read_results
from resbench.errors import EnvironmentFault, UsageError
from resbench.report import figures
from resbench.report.document import Document, Figure
from resbench.report.render import render
from resbench.report.report_page import (
    ALL,
    MASKS,
    README,
    Figures,
    readme_blocks,
    report_document,
    suite_document,
)
from resbench.store.atomic import UNSWEPT, faults_at, read_file, write_atomic
from resbench.store.layout import RESULTS

GENERATED = "<!-- Generated from records by `resbench report --site`: do not edit. -->"
DRAWN = "<!-- Generated from records by resbench report: do not edit. -->"
"""The same for figures; a comment in XML has no two hyphens."""
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
DRAWN_BY_HAND = "masks.svg"
"""What `resbench masks` was told to write into the folder: shown where it is, and never changed."""
METHOD = Path("docs", "statistics.md")
"""Where the method is explained, next to the folder of the pages."""


def write_site(suites: Iterable[str], results: Path, folder: Path) -> list[Path]:
    """Write the pages of these suites, or of all shipped ones, and return the files that changed.

    A masks.svg in the folder, from `resbench masks`, is shown on the index and in index.html.
    Pages and figures of an earlier call that are no longer made are removed; every other file
    stays. A README.md next to the folder gets the claims and their figure between its
    `results:begin` and `results:end` marks, where it has them.

    Raises:
        UsageError: a file that this did not write is in the way.
        EnvironmentFault: the folder cannot be written.
    """
    kept = read_results(results, finished=True)
    # next to the pages, where the commands of a project run, it needs no name
    usual = results.absolute() == folder.absolute().parent / RESULTS
    named = RESULTS if usual else results
    found = report(tuple(suites), kept, folder=named)
    drawn = draw(found)
    if folder.is_dir() and (masks := read_file(folder / DRAWN_BY_HAND)):
        alt = "What the soft masks of trained networks do to the features of test images"
        drawn[MASKS] = (Figure(DRAWN_BY_HAND, alt, masks),)
    method = f"../{METHOD}" if (folder.absolute().parent / METHOD).is_file() else ""
    files = build_site(found, drawn, named, link_to_runs(results, folder), method)
    stale = _generated(folder) - files.keys()
    _refuse_to_overwrite(folder, files)
    with faults_at(folder):
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        for name in stale:
            (folder / name).unlink()
    changed = [folder / name for name, content in files.items() if _write(folder / name, content)]
    readme = folder.parent / "README.md"
    before, begin, rest = (read_file(readme) or b"").partition(f"{BEGIN}\n".encode())
    _, end, after = rest.partition(END.encode())
    if begin and end:
        document = Document(tuple(readme_blocks(found, drawn, quote(folder.name))))
        block = render(document, "markdown").encode()
        if _write(readme, b"".join((before, begin, block, end, after))):
            changed.append(readme)
    return changed


def link_to_runs(results: Path, folder: Path) -> str:
    """Return the link from a document in ``folder`` to the folder of runs."""
    path = os.path.relpath(os.path.realpath(results / "runs"), os.path.realpath(folder))
    return quote(Path(path).as_posix())


def draw(found: Report, *, claims: bool = True) -> dict[tuple[str, str], tuple[Figure, ...]]:
    """Return the figures of a report; that of the claims only where a format does not draw them."""
    drawn: dict[tuple[str, str], tuple[Figure, ...]] = {}
    for table in found.with_runs:
        setting = table.setting
        # one figure for the same runs: that of the table with most of them
        others = (other.runs.keys() for other in found.with_runs)
        shown_elsewhere = any(table.runs.keys() < keys for keys in others)
        stem = f"figures/{table.suite}-{setting.tier}-{setting.id}"
        kinds = {
            "curves": ("Errors over epochs and the time of a run", figures.learning_curves),
            "noise": ("Test error over label noise", figures.noise),
            "signals": ("Sizes within the networks", figures.signals),
            "confusions": ("Which class each class is mistaken for", figures.confusions),
        }
        drawn[table.suite, setting.id] = tuple(
            Figure(
                f"{stem}-{kind}.svg",
                f"{what}: {table.suite}, {setting.name}. {figures.ends(table)}".rstrip(),
                figures.svg(figure),
            )
            for kind, (what, make) in kinds.items()
            if (kind in {"noise", "signals"} or not shown_elsewhere)
            and (figure := make(table, found.results)) is not None
        )
    if claims and (figure := figures.claims(found)) is not None:
        alt = "Published and measured effects of the claims about errors, as in the table of claims"
        drawn[ALL] = (Figure("figures/claims.svg", alt, figures.svg(figure)),)
    shown = found.headline
    if shown is not None and (figure := figures.published_and_measured(shown)) is not None:
        alt = f"{shown.title}: published and measured, {shown.setting.name}. "
        alt += figures.ends(shown)
        drawn[README] = (Figure("figures/headline.svg", alt, figures.svg(figure)),)
    return drawn


def build_site(
    found: Report, drawn: Figures, results: Path, runs: str, method: str = ""
) -> dict[str, bytes]:
    """Return every file by its path below the folder.

    ``results`` is what the pages call the results folder, ``runs`` the path of its runs from them.
    """
    mark = f"?>\n{DRAWN}\n".encode()
    files = {
        figure.path: figure.svg.replace(b"?>\n", mark, 1)
        for name, own in drawn.items()
        for figure in own
        if name != MASKS
    }
    pages = {"README": report_document(found, drawn, method=method, index=True)}
    pages |= {suite: suite_document(found, suite, drawn) for suite in found.by_suite}
    for name, document in pages.items():
        files[f"{name}.md"] = f"{GENERATED}\n\n{render(document, 'markdown')}".encode()
    whole = report_document(found, drawn, runs=runs, method=method)
    # the data inside name neither this machine nor this version
    data = replace(found, resbench="", results=str(results))
    declared, rest = render(replace(whole, data=data), "html").split("\n", 1)
    files["index.html"] = f"{declared}\n{GENERATED}\n{rest}".encode()
    return files


def _generated(folder: Path) -> set[str]:
    """Return the pages and figures in a folder that this wrote."""
    found = [*folder.glob("*.md"), *folder.glob("*.html"), *folder.glob("figures/*.svg")]
    return {path.relative_to(folder).as_posix() for path in found if _is_own(path)}


def _is_own(path: Path) -> bool:
    """Whether this wrote a file; what cannot be read as a file is somebody else's."""
    try:
        start = (read_file(path) or b"")[:256]
    except EnvironmentFault:
        return False
    return GENERATED.encode() in start or DRAWN.encode() in start


def _refuse_to_overwrite(folder: Path, files: Iterable[str]) -> None:
    folders = [path for path in (folder, folder / "figures") if os.path.lexists(path)]
    strange = [path for path in folders if not path.is_dir()] or [
        path for path in map(folder.joinpath, files) if os.path.lexists(path) and not _is_own(path)
    ]
    if strange:
        raise UsageError(
            f"{strange[0]}: not written by resbench; `--site {folder}` would overwrite it. Move it "
            "away, or choose another folder."
        )


def _write(path: Path, content: bytes) -> bool:
    if read_file(path) == content:
        return False
    write_atomic(path, content, UNSWEPT)
    return True
