"""Writing to MLflow what its store does not hold yet. The only module that imports MLflow.

Every run in the store carries a digest of the files that it was made from, written last; runs whose
digest is there are not looked at again. Where the store holds a number that the files do not
(epochs that were lost in a crash and trained again), the run is deleted there and written anew, for
MLflow cannot take a point back. Only runs of the same results folder are replaced so: a record
of another folder with the same key and other numbers stays, and both are told apart.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any, TypeAlias

from resbench.errors import ResbenchError
from resbench.store.layout import RUN_NAME, RunFolder
from resbench.store.state import Status
from resbench.tracking import notes
from resbench.tracking.facts import MAX_TEXT, Facts, Suites, digest_of, read_facts
from resbench.tracking.store import (
    CELL,
    DIGEST,
    FOLDER,
    KEY,
    SUITE,
    Unreachable,
    find_store,
    folder_id,
    share,
)
from resbench.words import one_line

EPOCHS, RECORD, REASON = "resbench.epochs", "resbench.record", "resbench.reason"
PUBLISHED = "_published"
"""End of the name of a metric: the value that the suite's source gives for it."""
MLFLOW_STATUS = {
    Status.RUNNING: "RUNNING",
    Status.DONE: "FINISHED",
    Status.DIVERGED: "FAILED",
    Status.OOM: "FAILED",
    Status.FAILED: "FAILED",
    Status.TIMEOUT: "FAILED",
    Status.INTERRUPTED: "KILLED",
}
_METRICS = 800
"""In one request, with about 100 parameters and tags: MLflow takes 1,000 in all."""
_VARIABLES = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # what goes wrong is said once, in our own words
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_UNLESS_SET = {
    # With MLflow's own values (7 retries, 120 s) a dead server blocks for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT": "20",
}
_HELD = """
SELECT d.value, r.status, f.value FROM runs r
JOIN tags d ON d.run_uuid = r.run_uuid AND d.key = ?
JOIN tags f ON f.run_uuid = r.run_uuid AND f.key = ?
WHERE r.lifecycle_stage = 'active'
"""


Run: TypeAlias = Any
"""MLflow's own, kept up to date with what is written."""


@dataclass(frozen=True)
class Report:
    """What :meth:`Exporter.export` found and did, in runs."""

    written: int = 0
    unchanged: int = 0
    running: int = 0
    """Being trained now."""
    ended: int = 0
    """Had died and left no files, and were still shown as running."""
    problems: tuple[str, ...] = ()
    """One line for every run that could not be exported."""


class Exporter:
    """Exports one results folder.

    Args:
        results: The folder.
        wait_s: How long to wait for another process that writes to the store.

    Raises:
        UsageError: MLFLOW_TRACKING_URI names a store that cannot be used.
    """

    def __init__(self, results: Path, wait_s: float = 60.0) -> None:
        self.store, self.wait_s = find_store(results), wait_s
        self._suites, self._folder = Suites(results), folder_id(results)
        self._opened: Any = None
        self._confirmed: Counter[str] | None = None
        """Digests that are in a store which cannot be asked at little cost."""

    def export(self) -> Report:
        """Bring the store up to date with the files.

        Raises:
            Unreachable: the store does not answer; nothing is lost.
        """
        self.store.check_tables()
        found, problems = self._look()
        current = Counter({digest: cells for digest, cells, _ in found.values()})
        held, stale = self._held(current)
        changed, unreadable = dict[str, Facts](), len(problems)
        for name, (digest, cells, _) in found.items():
            if held[digest] < max(cells, 1):
                try:
                    if facts := read_facts(RunFolder(self.store.results, name)):
                        changed[digest] = facts
                except ResbenchError as error:
                    problems.append(one_line(error))
        written = ended = 0
        if changed or stale:
            with self._plainly(), self.store.turn(self.wait_s):
                suites = {suite for facts in changed.values() for suite, _ in facts.cells}
                experiments = {suite: self._experiment(suite) for suite in sorted(suites)}
                known = self._search()
                written, refused = self._write(changed, experiments, known)
                problems += refused
                ended = self._end(known, current)
        self._confirmed = current
        running = sum(status is Status.RUNNING for *_, status in found.values())
        unchanged = len(found) - written - (len(problems) - unreadable)
        return Report(written, unchanged, running, ended, tuple(problems))

    # -- what has changed ------------------------------------------------------------------------

    def _look(self) -> tuple[dict[str, tuple[str, int, Status]], list[str]]:
        """Return digest, number of cells and status of every run that has begun."""
        found, problems = {}, []
        try:
            names = sorted(filter(RUN_NAME.fullmatch, os.listdir(self.store.results / "runs")))
        except OSError:
            names = []
        for name in names:
            try:
                if looked := digest_of(RunFolder(self.store.results, name), self._suites):
                    found[name] = looked
            except ResbenchError as error:
                problems.append(one_line(error))
        return found, problems

    def _held(self, current: Counter[str]) -> tuple[Counter[str], bool]:
        """Return the digests in the store, and whether it shows a run as running that is not."""
        rows = self.store.query(_HELD, DIGEST, FOLDER)
        if rows is None:
            database = self.store.database
            unasked = self._confirmed is None and (database is None or database.exists())
            return self._confirmed or Counter(), unasked
        ours = [digest for digest, *end in rows if end == ["RUNNING", self._folder]]
        return Counter(digest for digest, *_ in rows), any(d not in current for d in ours)

    # -- reading ---------------------------------------------------------------------------------

    @property
    def _client(self) -> Any:
        if self._opened is None:
            client = _mlflow().MlflowClient
            database = self.store.database
            if database is not None and not database.exists():
                _make(database, client)
            self._opened = client(self.store.uri)
        return self._opened

    def _search(self) -> list[Run]:
        """Return all runs of ours, of whatever folder, with the newest value of each metric."""
        ours = self._client.search_experiments(filter_string=f"tags.`{SUITE}` != ''")
        ids, token, known = [each.experiment_id for each in ours], None, list[Run]()
        while ids:
            query = f"tags.`{KEY}` != ''"
            page = self._client.search_runs(ids, query, max_results=1000, page_token=token)
            known += page
            if not (token := page.token):
                break
        return known

    def _match(self, known: list[Run], facts: Facts, place: tuple[str, str]) -> Run | None:
        """Return the run with this record, else what this folder has written of this key."""
        here = (*place, facts.key)
        runs = [run for run in known if here == tuple(map(run.data.tags.get, (SUITE, CELL, KEY)))]
        same = (run for run in runs if facts.record and run.data.tags.get(RECORD) == facts.record)
        ours = (run for run in runs if run.data.tags.get(FOLDER) == self._folder)
        return next(same, None) or next(ours, None)

    def _experiment(self, suite: str) -> str:
        """Return a suite's experiment by its tag, for its name may be somebody else's."""
        everything = _mlflow().entities.ViewType.ALL
        found = self._client.search_experiments(
            everything, filter_string=f"tags.`{SUITE}` = '{suite}'"
        )
        for experiment in sorted(found, key=lambda each: each.lifecycle_stage):  # active first
            if experiment.lifecycle_stage == "deleted":
                self._client.restore_experiment(experiment.experiment_id)
            return str(experiment.experiment_id)
        names = chain([suite, f"{suite} (resbench)"], (f"{suite} (resbench {n})" for n in count(2)))
        free = next(name for name in names if self._client.get_experiment_by_name(name) is None)
        artifacts = self.store.artifacts and self.store.artifacts.as_uri()
        tags = {SUITE: suite, "mlflow.experimentKind": "custom_model_development"}
        return str(self._client.create_experiment(free, artifacts, tags))

    # -- writing ---------------------------------------------------------------------------------

    def _write(
        self, changed: Mapping[str, Facts], experiments: Mapping[str, str], known: list[Run]
    ) -> tuple[int, list[str]]:
        """Write what the store does not hold; return how many runs, and a line for each refused."""
        written, problems = set[str](), dict[str, str]()
        for suite, experiment in experiments.items():
            unsealed: list[tuple[Run, str]] = []
            for digest, facts in changed.items():
                for cell in (cell for name, cell in facts.cells if name == suite):
                    run = self._match(known, facts, (suite, cell))
                    if run is not None and run.data.tags.get(DIGEST) == digest:
                        continue
                    try:
                        run = self._put(experiment, known, run, facts, (suite, cell))
                    except _mlflow().exceptions.MlflowException as error:
                        if error.get_http_status_code() >= 500:
                            raise
                        problems[digest] = f"run {facts.key[:16]}: MLflow refuses it: {_why(error)}"
                        continue
                    written.add(digest)
                    unsealed.append((run, digest))
            self._describe(experiment, suite, known)
            for run, digest in unsealed:  # last: all is there, the note of the experiment too
                self._client.set_tag(run.info.run_id, DIGEST, digest)
                run.data.tags[DIGEST] = digest
        return len(written - problems.keys()), list(problems.values())

    def _put(
        self,
        experiment: str,
        known: list[Run],
        run: Run | None,
        facts: Facts,
        place: tuple[str, str],
    ) -> Run:
        """Write one run into one cell, all but its digest."""
        suite, cell = place
        published = self._suites.published(suite)
        constants = {f"error/{m}{PUBLISHED}": v for m, v in published.values.get(cell, {}).items()}
        if run is not None and _contradicts(run, facts, constants):
            if run.info.status == "RUNNING":
                self._client.set_terminated(run.info.run_id, "KILLED")
            self._client.delete_run(run.info.run_id)
            known.remove(run)
            run = None
        if run is None:
            run = self._create(experiment, facts, place)
            known.append(run)
        tags = {**facts.tags, "mlflow.note.content": notes.of_run(facts, place, published)}
        if facts.record:
            tags[RECORD] = facts.record
        if facts.epochs:
            tags[EPOCHS] = _epochs_tag(facts, len(facts.epochs))
        self._log(run, facts, constants, tags)
        if REASON in run.data.tags and REASON not in tags:  # of an earlier attempt
            self._client.delete_tag(run.info.run_id, REASON)
            del run.data.tags[REASON]
        status = MLFLOW_STATUS[facts.status]
        if status == "RUNNING":
            self._client.update_run(run.info.run_id, status)
        else:
            for path in facts.artifacts:
                self._client.log_artifact(run.info.run_id, str(path))
            end_ms = run.info.start_time + int(1000 * max(facts.seconds, default=0))
            self._client.set_terminated(run.info.run_id, status, end_ms)
        return run

    def _create(self, experiment: str, facts: Facts, place: tuple[str, str]) -> Run:
        suite, cell = place
        tags = {
            SUITE: suite,
            CELL: cell,
            KEY: facts.key,
            FOLDER: self._folder,
            "resbench.results": one_line(f"{socket.gethostname()}:{self.store.results}")[:MAX_TEXT],
            "mlflow.source.name": "resbench run",
            "mlflow.source.type": "LOCAL",
        }
        name = f"s{facts.seed} {cell}"
        return self._client.create_run(experiment, facts.started_ms, tags, name)

    def _log(
        self,
        run: Run,
        facts: Facts,
        constants: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> None:
        """Log what is new, in as few requests as the limits allow, tags last."""
        entities = _mlflow().entities
        if DIGEST not in run.data.tags:
            label, identity, used = facts.data
            details = json.dumps({"tags": None}), None, json.dumps(used)
            dataset = entities.Dataset(label, identity, "code", *details)
            self._client.log_inputs(run.info.run_id, [entities.DatasetInput(dataset, [])])
        points = [(n, v, 0, 0.0) for n, v in constants.items() if n not in run.data.metrics]
        for i in range(_count(run), len(facts.epochs)):
            points += [(n, v, i + 1, facts.seconds[i]) for n, v in facts.epochs[i].items()]
        metrics = [
            entities.Metric(name, value, run.info.start_time + int(1000 * seconds), step)
            for name, value, step, seconds in points
        ]
        params = {k: v for k, v in facts.params.items() if k not in run.data.params}
        new = {k: v for k, v in tags.items() if run.data.tags.get(k) != v}
        while len(metrics) > _METRICS:
            self._client.log_batch(run.info.run_id, metrics[:_METRICS])
            del metrics[:_METRICS]
        self._client.log_batch(
            run.info.run_id,
            metrics,
            [entities.Param(k, v) for k, v in params.items()],
            [entities.RunTag(k, v) for k, v in new.items()],
        )
        run.data.metrics.update({name: value for name, value, *_ in points})
        run.data.tags.update(new)

    def _describe(self, experiment: str, suite: str, known: list[Run]) -> None:
        """Bring the note and the saved view of an experiment up to date with its runs."""
        runs = [run for run in known if run.data.tags.get(SUITE) == suite]
        told = notes.of_suite(self._suites.published(suite), runs)
        has = self._client.get_experiment(experiment).tags
        for name, text in told.items():
            if has.get(name) != text:
                self._client.set_experiment_tag(experiment, name, text)

    def _end(self, known: list[Run], current: Counter[str]) -> int:
        """End runs that this folder once had and that the store still shows as running."""
        ended = 0
        for run in known:
            ours = run.info.status == "RUNNING" and run.data.tags.get(FOLDER) == self._folder
            if ours and run.data.tags.get(DIGEST) not in current:
                self._client.set_terminated(run.info.run_id, "KILLED")
                ended += 1
        return ended

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """Say in one line what goes wrong below MLflow: sockets, SQL, migrations."""
        try:
            yield
        except ResbenchError:
            raise
        except Exception as error:
            raise Unreachable(
                f"{self.store.shown}: {_why(error)}. Nothing is lost: {self.store.sync} completes "
                "it later."
            ) from error


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
    unfinished = Path(f"{database}-new")
    for left in (unfinished, Path(f"{unfinished}-journal")):  # a stale journal would be replayed
        left.unlink(missing_ok=True)
    client(f"sqlite:///{unfinished}")
    share(unfinished)
    unfinished.replace(database)


def _count(run: Run) -> int:
    """Return how many epochs are there."""
    return int(run.data.tags.get(EPOCHS, "0").partition(" ")[0])


def _contradicts(run: Run, facts: Facts, constants: Mapping[str, float]) -> bool:
    """Say whether something is there that the files do not say."""
    n, data = _count(run), run.data
    if n and data.tags[EPOCHS] != _epochs_tag(facts, n):
        return True
    expected = {**(facts.epochs[n - 1] if n else {}), **constants}
    return any(
        not math.isclose(expected.get(name, math.nan), value, rel_tol=1e-9)
        for name, value in data.metrics.items()
        if name in expected or not name.endswith(PUBLISHED)
    ) or any(facts.params.get(name, text) != text for name, text in data.params.items())


def _epochs_tag(facts: Facts, n: int) -> str:
    """Return how many epochs are exported, and a digest that tells whether they are the same."""
    digest = hashlib.sha256(json.dumps(facts.epochs[:n], sort_keys=True).encode())
    return f"{n} {digest.hexdigest()[:16]}"


def _why(error: BaseException) -> str:
    """Return the cause of an error in one line: MLflow wraps it in pages of text."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return one_line(str(error).strip().partition("\n")[0] or type(error).__name__)[:300]
