"""``resbench sync``: rebuild the MLflow mirror from the files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from resbench.errors import ResbenchError
from resbench.store.layout import RunFolder
from resbench.store.scan import scan
from resbench.tracking.facts import Facts, read_facts
from resbench.tracking.settings import find_store
from resbench.tracking.turn import Unreachable
from resbench.tracking.writer import Writer
from resbench.words import one_line

WAIT_S = 60.0
"""For another resbench that writes: making a database can take long on a busy machine."""


@dataclass(frozen=True)
class SyncReport:
    """What :func:`sync` found and did, in runs."""

    store: str
    written: int
    unchanged: int
    running: int
    """Being trained now: their own session mirrors them."""
    ended: int
    """Had died and left no files, and were still shown as running."""
    problems: tuple[str, ...]
    """One line for every run that could not be mirrored."""


def sync(results: Path, uri: str | None = None) -> SyncReport:
    """Make MLflow say what the files of ``results`` say, without duplicates.

    Raises:
        UsageError: ``uri`` is not a store that can be used.
        EnvironmentFault: the store does not answer.
    """
    store = find_store(results, uri)
    writer = Writer(store, WAIT_S)
    versions = writer.versions()
    found = scan(store.results, hash_files=False)
    problems = list(found.problems)
    keys = [*found.records, *(run.key for run in found.incomplete)]
    written = unchanged = running = 0
    for key in sorted(keys):
        try:
            facts = read_facts(RunFolder(store.results, key))
            if facts is None:
                continue
            if not facts.ended:
                running += 1
            elif _is_current(facts, versions):
                unchanged += 1
            else:
                writer.write(facts)
                written += 1
        except Unreachable:
            raise
        except ResbenchError as error:
            problems.append(one_line(error))
    ended = writer.end_orphans(set(keys))
    return SyncReport(store.shown, written, unchanged, running, ended, tuple(problems))


def _is_current(facts: Facts, versions: dict[tuple[str, str, str], str]) -> bool:
    places = [(suite, cell, facts.key) for suite, cell in facts.cells]
    return all(versions.get(place) == facts.version for place in places)
