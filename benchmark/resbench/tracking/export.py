"""Writing to MLflow what its store does not hold yet. The only module that imports MLflow.

Every run in the store carries a digest of what it was made from, written last, so a run without it
was being written when a process died. Such a run is deleted and written anew, and so is one that
holds numbers that the files do not (epochs lost in a crash and trained again), for MLflow cannot
take a point back. Only runs of the same results folder are replaced: a record of another folder
with the same key and other numbers stays, and both can be told apart.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain, count
from pathlib import Path
from typing import Any, TypeAlias

from resbench import __version__
from resbench.errors import EnvironmentFault, ResbenchError
from resbench.store.layout import RUN_NAME, RunFolder
from resbench.store.locks import is_locked
from resbench.store.scan import run_names
from resbench.store.state import Status
from resbench.tracking.facts import MAX_TEXT, Facts, Published, published_by, read_facts
from resbench.tracking.mirror import DIGEST, FOLDER, SUITE, VIEW, find_mirror
from resbench.words import one_line

CELL, KEY, RECORD = "resbench.cell", "resbench.key", "resbench.record"
EPOCHS, PAGE = "resbench.epochs", "resbench.report"
INCOMPLETE = "incomplete"
"""The digest of a run that is being written."""
NOTE = "mlflow.note.content"
MLFLOW_STATUS = {Status.RUNNING: "RUNNING", Status.DONE: "FINISHED", Status.INTERRUPTED: "KILLED"}
"""All others are FAILED."""
_VARIABLES = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # errors are reported once, in our own words
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_UNLESS_SET = {
    # With MLflow's own values (7 retries, 120 s) a dead server blocks for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT": "20",
}

MlflowRun: TypeAlias = Any


@dataclass(frozen=True)
class CellRun:
    """A run in one cell of a suite: one run in MLflow."""

    facts: Facts
    suite: str
    cell: str
    published: Published

    @cached_property
    def digest(self) -> str:
        """Of all facts that are written; the same in a copy of the folder."""
        return _digest(self)

    @property
    def errors(self) -> Mapping[str, float]:
        """The published errors of the cell, by metric."""
        return self.published.values.get(self.cell, {})

    @property
    def steps(self) -> list[Mapping[str, float]]:
        """The published errors as step 0, and every epoch."""
        published = {f"error/{metric}_published": value for metric, value in self.errors.items()}
        return [published, *self.facts.epochs]

    @property
    def note(self) -> str:
        """What MLflow says above the run's numbers, as Markdown."""
        facts = self.facts
        lines = [f"**{self.cell}** of `{self.suite}`, seed {facts.seed}: {facts.status}."]
        where = (facts.tags[f"resbench.{name}"] for name in ("tier", "data", "set"))
        lines.append(
            f"Setting: {', '.join(filter(None, where))}. The run `report` of this experiment says "
            "whether that can be compared with the published values."
        )
        for metric, value in self.errors.items():
            lines.append(f"{metric}: published {value:g} % ({self.published.cites})")
        return "\n\n".join(lines)[:MAX_TEXT]

    def epochs_tag(self, n: int) -> str:
        """Return ``n``, and a digest that tells whether the first ``n`` epochs are the same."""
        published, *epochs = self.steps
        return f"{n} {_digest((published, tuple(epochs[:n])))[:16]}"

    def steps_in(self, run: MlflowRun) -> int:
        """Return how many of its steps ``run`` holds; 0 where it must be written anew."""
        tag = run.data.tags.get(EPOCHS, "0")
        n = int(tag.partition(" ")[0])
        complete = run.data.tags.get(DIGEST, INCOMPLETE) != INCOMPLETE
        return n + 1 if complete and tag == self.epochs_tag(n) else 0


@dataclass(frozen=True)
class Exported:
    """What :meth:`Exporter.export` found and did, in runs."""

    written: int
    unchanged: int
    running: int
    """Being trained now."""
    problems: tuple[str, ...]
    """One line for everything that could not be exported."""


@dataclass(frozen=True)
class _Due:
    """What the files say, and what of it the store does not hold."""

    runs: list[Facts]
    problems: list[str]
    unread: set[str]
    wanted: dict[str, CellRun]
    """By digest."""
    digests: set[str]
    """Of all runs and reports."""
    held: Set[str]
    """Digests that are in the store."""
    missing: list[CellRun]
    stale: dict[str, str]
    """Suite -> digest of its report."""
    lost: bool
    """Whether the store shows a run as running that the files do not."""


class _NoArtifacts(Exception):
    """A server takes no files."""


class Exporter:
    """Exports one results folder.

    Args:
        results: The folder.
        wait_s: How long to wait for another process that writes to the store.
        page: From a suite's file to its report in HTML, for the run ``report`` of each suite.

    Raises:
        UsageError: MLFLOW_TRACKING_URI names a store that cannot be used.
    """

    def __init__(
        self, results: Path, wait_s: float = 60.0, page: Callable[[str], str] | None = None
    ) -> None:
        self.mirror, self.wait_s, self.page = find_mirror(results), wait_s, page
        self._published = cache(lambda suite: published_by(suite, results))
        self._read: dict[str, tuple[object, Facts | None]] = {}
        self._exported = set[str]()
        """Digests that are in a store which cannot be asked at little cost."""
        self._refused = dict[str, str]()
        """Digest -> why the store refused it. Each attempt would leave one more deleted run."""

    def export(self) -> Exported:
        """Bring the store up to date with the files.

        Raises:
            EnvironmentFault: the store does not answer; nothing is lost.
        """
        due = self._compare()
        written = set[str]()
        if due.missing or due.stale or due.lost:
            with self._plainly(), self.mirror.turn(self.wait_s):
                due = self._compare()  # while this one waited, another may have written newer facts
                suites = sorted({*(run.suite for run in due.missing), *due.stale})
                experiments = {suite: self._experiment(suite) for suite in suites}
                known = self._search()  # after that: deleted experiments come back with their runs
                for cell_run in due.missing:
                    key = cell_run.facts.key
                    with self._refusing(cell_run.digest, f"run {key[:16]}"):
                        if self._put(experiments[cell_run.suite], known, cell_run):
                            written.add(key)
                self._end_lost(known, due)
                for suite, digest in due.stale.items():
                    with self._refusing(digest, f"report of {suite}"):
                        self._put_page(experiments[suite], known, suite, digest)
        self._exported = due.digests - self._refused.keys()
        refused = {d: why for d, why in self._refused.items() if d in due.digests - due.held}
        keys = {due.wanted[digest].facts.key for digest in refused if digest in due.wanted}
        return Exported(
            written=len(written - keys),
            unchanged=len(due.runs) - len(written | keys),
            running=sum(facts.status is Status.RUNNING for facts in due.runs),
            problems=(*due.problems, *dict.fromkeys(refused.values())),
        )

    def _compare(self) -> _Due:
        """Compare the files with the store."""
        runs, problems, unread = self._find()
        cell_runs = [
            CellRun(facts, suite, cell, self._published(suite))
            for facts in runs
            for suite, cell in facts.cells
        ]
        wanted = {cell_run.digest: cell_run for cell_run in cell_runs}
        pages = self._pages(cell_runs)
        held = self.mirror.held()
        if held is None:
            tried = self._exported | self._refused.keys()
            held, lost = dict.fromkeys(self._exported, False), not tried
        else:
            lost = any(running and digest not in wanted for digest, running in held.items())
        known_digests = held.keys() | self._refused.keys()
        missing = [run for digest, run in wanted.items() if digest not in known_digests]
        stale = {suite: digest for digest, suite in pages.items() if digest not in known_digests}
        digests = wanted.keys() | pages.keys()
        return _Due(runs, problems, unread, wanted, digests, held.keys(), missing, stale, lost)

    @contextmanager
    def _refusing(self, digest: str, what: str) -> Iterator[None]:
        """Note what the store refuses, or a report that cannot be made; the export continues."""
        try:
            yield
        except ResbenchError as error:  # a suite that can be read, but not expanded
            first, _, _ = str(error).partition("\n")
            self._refused[digest] = f"{what}: {one_line(first)}"
        except (_NoArtifacts, _mlflow().exceptions.MlflowException) as error:
            if not isinstance(error, _NoArtifacts) and error.get_http_status_code() >= 500:
                raise
            self._refused[digest] = f"{what}: MLflow refuses it: {_why(error)}"

    @contextmanager
    def _uploading(self) -> Iterator[None]:
        """Tell a server that takes numbers but no files from one that fails.

        Its clients need packages and credentials of their own, and raise what those raise.
        """
        try:
            yield
        except Exception as error:
            if self.mirror.database is not None:  # the disk
                raise
            raise _NoArtifacts from error

    # -- what has changed ------------------------------------------------------------------------

    def _find(self) -> tuple[list[Facts], list[str], set[str]]:
        """Return the facts of every started run, a line for each damaged one, and some names.

        The names are of the damaged runs that a process is training. A run is read again only when
        its files change.
        """
        found, problems, unread = [], [], set()
        for name in filter(RUN_NAME.fullmatch, run_names(self.mirror.results)):
            run = RunFolder(self.mirror.results, name)
            try:
                stamp = _stamp(run)
                if self._read.get(name, ((), None))[0] != stamp:
                    self._read[name] = stamp, read_facts(run)
            except (ResbenchError, OSError) as error:
                problems.append(one_line(error))
                if is_locked(run.path):
                    unread.add(name)
                continue
            if facts := self._read[name][1]:
                found.append(facts)
        return found, problems, unread

    def _pages(self, cell_runs: list[CellRun]) -> dict[str, str]:
        """Return the suites with a report, by a digest of what it is made of.

        That is the suite and every record: a table also shows runs that were trained for another.
        """
        done = [run for run in cell_runs if self.page and run.facts.record]
        records = sorted({run.facts.record for run in done})
        suites = {run.suite: run.published.content for run in done if run.published.path}
        return {_digest((__version__, *pair, records)): pair[0] for pair in suites.items()}

    # -- reading the store -----------------------------------------------------------------------

    @cached_property
    def _client(self) -> Any:
        client, database = _mlflow().MlflowClient, self.mirror.database
        if database is not None and not database.exists():
            _make(database, client)
        return client(self.mirror.uri)

    def _search(self) -> list[MlflowRun]:
        """Return all runs of ours, of whatever folder."""
        ours = self._client.search_experiments(filter_string=f"tags.`{SUITE}` != ''")
        ids, query = [each.experiment_id for each in ours], f"tags.`{FOLDER}` != ''"
        page = self._client.search_runs(ids, query, max_results=1000)
        known = [*page]
        while page.token:
            page = self._client.search_runs(ids, query, max_results=1000, page_token=page.token)
            known += page
        return known

    def _match(self, known: list[MlflowRun], cell_run: CellRun) -> MlflowRun | None:
        """Return the run with this record, else what this folder has written of this key."""
        here = {SUITE: cell_run.suite, CELL: cell_run.cell, KEY: cell_run.facts.key}
        runs = [run for run in known if here.items() <= run.data.tags.items()]
        record = cell_run.facts.record
        same = (run for run in runs if record and run.data.tags.get(RECORD) == record)
        ours = (run for run in runs if run.data.tags.get(FOLDER) == self.mirror.folder)
        return next(chain(same, ours), None)

    def _experiment(self, suite: str) -> str:
        """Return a suite's experiment by its tag, for its name may be somebody else's."""
        everything = _mlflow().entities.ViewType.ALL
        query = f"tags.`{SUITE}` = '{suite}'"
        found = self._client.search_experiments(everything, filter_string=query)
        tags = _experiment_tags(suite, self._published(suite))
        if not found:
            names = chain([suite], (f"{suite} (resbench {n})" for n in count(1)))
            free = next(n for n in names if self._client.get_experiment_by_name(n) is None)
            artifacts = self.mirror.artifacts and self.mirror.artifacts.as_uri()
            return str(self._client.create_experiment(free, artifacts, tags))
        experiment = min(found, key=lambda each: each.lifecycle_stage)  # active before deleted
        if experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(experiment.experiment_id)
        for name, text in tags.items():
            if experiment.tags.get(name) != text:
                self._client.set_experiment_tag(experiment.experiment_id, name, text)
        return str(experiment.experiment_id)

    # -- writing ---------------------------------------------------------------------------------

    def _put(self, experiment: str, known: list[MlflowRun], cell_run: CellRun) -> bool:
        """Write one run, its digest last; return whether the store did not hold it."""
        facts, run = cell_run.facts, self._match(known, cell_run)
        if run is not None and run.data.tags.get(DIGEST) == cell_run.digest:
            return False
        done = 0 if run is None else cell_run.steps_in(run)
        if run is None or not done:
            if run is not None:
                self._client.delete_run(run.info.run_id)
            run = self._create(experiment, cell_run)
        else:
            self._client.set_tag(run.info.run_id, DIGEST, INCOMPLETE)
        self._log(run, cell_run, done)
        status = MLFLOW_STATUS.get(facts.status, "FAILED")
        if status == "RUNNING":
            self._client.update_run(run.info.run_id, status)
        else:
            end_ms = run.info.start_time + int(1000 * max(facts.seconds, default=0))
            self._client.set_terminated(run.info.run_id, status, end_ms)
            folder = RunFolder(self.mirror.results, facts.key).path
            for name in facts.artifacts:
                with self._uploading():
                    self._client.log_artifact(run.info.run_id, str(folder / name))
        self._client.set_tag(run.info.run_id, DIGEST, cell_run.digest)
        return True

    def _create(self, experiment: str, cell_run: CellRun) -> MlflowRun:
        facts, entities = cell_run.facts, _mlflow().entities
        home = f"{socket.gethostname()}:{self.mirror.results}"
        tags = {
            SUITE: cell_run.suite,
            CELL: cell_run.cell,
            KEY: facts.key,
            FOLDER: self.mirror.folder,
            DIGEST: INCOMPLETE,
            "resbench.results": one_line(home)[:MAX_TEXT],
            "mlflow.source.name": "resbench run",
            "mlflow.source.type": "LOCAL",
        }
        name = f"s{facts.seed} {cell_run.cell}"
        run = self._client.create_run(experiment, facts.started_ms, tags, name)
        label, identity, used = facts.data
        source, profile = json.dumps({"tags": None}), json.dumps(used)
        dataset = entities.Dataset(label, identity, "code", source, profile=profile)
        self._client.log_inputs(run.info.run_id, [entities.DatasetInput(dataset, [])])
        return run

    def _log(self, run: MlflowRun, cell_run: CellRun, done: int) -> None:
        """Log the steps after the first ``done``, then parameters and tags."""
        facts, entities = cell_run.facts, _mlflow().entities
        seconds = (0.0, *facts.seconds)
        metrics = [
            entities.Metric(name, value, run.info.start_time + int(1000 * seconds[step]), step)
            for step, values in list(enumerate(cell_run.steps))[done:]
            for name, value in values.items()
        ]
        self._client.log_batch(run.info.run_id, metrics)  # in requests of a size that is taken
        tags = {**facts.tags, NOTE: cell_run.note, EPOCHS: cell_run.epochs_tag(len(facts.epochs))}
        tags |= {RECORD: facts.record} if facts.record else {}
        params = {k: v for k, v in facts.params.items() if k not in run.data.params}
        self._client.log_batch(
            run.info.run_id,
            params=[entities.Param(k, v) for k, v in params.items()],
            tags=[entities.RunTag(k, v) for k, v in tags.items()],
        )

    def _put_page(self, experiment: str, known: list[MlflowRun], suite: str, digest: str) -> None:
        """Write a suite's report of this folder over the one that its run holds."""
        assert self.page is not None
        page = self.page(self._published(suite).path)
        tags = {SUITE: suite, PAGE: "page", FOLDER: self.mirror.folder}
        run = next((run for run in known if tags.items() <= run.data.tags.items()), None)
        if run is None:
            run = self._client.create_run(experiment, tags=tags, run_name="report")
        note = "The tables of this suite, with verdicts: `report.html` under Artifacts."
        self._client.set_tag(run.info.run_id, NOTE, note)
        self._client.set_terminated(run.info.run_id, "FINISHED")  # also where no file is taken
        with self._uploading():
            self._client.log_text(run.info.run_id, page, "report.html")
        self._client.set_tag(run.info.run_id, DIGEST, digest)

    def _end_lost(self, known: list[MlflowRun], due: _Due) -> None:
        """End what the store shows as running but this folder does not have in that cell.

        A run can be started for one table and finished for another, whose cell its record names.
        """
        here = {(run.suite, run.cell, run.facts.key) for run in due.wanted.values()}
        for run in known:
            tags = run.data.tags
            ours = run.info.status == "RUNNING" and tags.get(FOLDER) == self.mirror.folder
            key = tags.get(KEY, "")
            known_here = (tags.get(SUITE), tags.get(CELL), key) in here
            if ours and not known_here and key[:16] not in due.unread:
                self._client.set_terminated(run.info.run_id, "KILLED")

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """Say in one line what goes wrong below MLflow: sockets, SQL, migrations."""
        try:
            yield
        except ResbenchError:
            raise
        except Exception as error:
            text = f"{self.mirror.shown}: {_why(error).rstrip('.')}. {self.mirror.remedy}"
            raise EnvironmentFault(text) from error


def _experiment_tags(suite: str, published: Published) -> dict[str, str]:
    """Return the tags of a suite's experiment: whose it is, a note, a saved view of columns.

    A version of MLflow that reads the view otherwise than 3.15 does shows its usual columns. The
    names of runs, which come first, say seed and cell.
    """
    note = [f"**{published.title}**", published.cites] if published.title else []
    note.append("What the numbers mean for the claims: `resbench report`, and the run `report`.")
    metrics = dict.fromkeys(metric for cell in published.values.values() for metric in cell)
    widths: dict[str, int] = {}
    for metric in metrics or ("test_top1_err",):
        widths |= {f"metrics.`error/{metric}`": 160, f"metrics.`error/{metric}_published`": 220}
    for name, width in (("tier", 110), ("set", 200), ("results", 300)):
        widths[f"tags.`resbench.{name}`"] = width
    widths["attributes.`Dataset`"] = 210
    state = {
        "selectedColumns": list(widths),
        "columnOrder": list(widths),
        "columnWidths": widths,
        "orderByKey": f"tags.`{CELL}`",
        "orderByAsc": True,
    }
    view = {"name": "Measured and published", "createdAt": 0, "state": json.dumps(state)}
    return {
        SUITE: suite,
        NOTE: "\n\n".join(note)[:MAX_TEXT],
        f"mlflow.sharedViewState.{VIEW}": json.dumps(view),
        "mlflow.experimentKind": "custom_model_development",
    }


def _mlflow() -> Any:
    """Import MLflow under the variables that it reads once."""
    os.environ.update(_VARIABLES)
    for name, value in _UNLESS_SET.items():
        os.environ.setdefault(name, value)
    import mlflow.entities
    import mlflow.exceptions

    return mlflow


def _make(database: Path, client: Any) -> None:
    """Make an empty MLflow database, whole or not at all: a half-migrated one is of no use."""

    def tidy() -> None:
        for left in database.parent.iterdir():
            if left.name.startswith(f"{database.name}-new-"):
                left.unlink()

    tidy()  # what a killed process has left
    # A name of its own each time: MLflow keeps what it opened, even a file that is gone.
    unfinished = Path(f"{database}-new-{os.urandom(4).hex()}")
    try:
        unfinished.touch(0o666)  # SQLite's own mode leaves the group out whatever the umask
        client(f"sqlite:///{unfinished}")
        unfinished.replace(database)
    finally:
        tidy()


def _stamp(run: RunFolder) -> tuple[object, ...]:
    """Return what changes with the files of a run and with whether a process trains it."""
    run.require()
    files = []
    for entry in os.scandir(run.path):
        with suppress(FileNotFoundError):  # a temporary file, renamed meanwhile
            stat = entry.stat(follow_symlinks=False)
            files.append((entry.name, stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return is_locked(run.path), *sorted(files)


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode(errors="replace")).hexdigest()


def _why(error: BaseException) -> str:
    """Return the cause of an error in one line: MLflow wraps it in pages of text."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return one_line(str(error).strip().partition("\n")[0] or type(error).__name__)[:300]
