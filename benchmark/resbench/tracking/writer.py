"""Making MLflow say what the files say. The only module that imports MLflow.

A run is known by its key, suite and cell. Writing it again changes nothing; where MLflow holds a
number that the files do not hold (epochs that were lost in a crash and trained again), the run is
deleted there and written anew, for MLflow cannot take a point back.
"""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import psutil

from resbench.errors import EnvironmentFault, ResbenchError
from resbench.tracking.facts import MLFLOW_STATUS, Facts, Point
from resbench.tracking.settings import Store, experiment_page, mlflow_variables
from resbench.tracking.system import Sample
from resbench.tracking.turn import Unreachable, turn
from resbench.words import one_line

os.environ.update(mlflow_variables())

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    Param,
    Run,
    RunTag,
)
from mlflow.exceptions import MlflowException

MirrorPlace = tuple[str, str, str]
"""Suite, cell and key."""

SUITE_TAG, CELL_TAG, KEY_TAG = "resbench.suite", "resbench.cell", "resbench.key"
VERSION_TAG = "resbench.mirrored"
HOST_TAG, PID_TAG, REASON_TAG = "resbench.host", "resbench.pid", "resbench.reason"
_SOURCE = {"mlflow.source.name": "resbench run", "mlflow.source.type": "LOCAL"}
_METRICS, _TEXTS = 800, 100
"""Metrics, and parameters or tags, in one request: MLflow takes 1,000 in all."""


@dataclass
class Mirrored:
    """What MLflow has of one run in one place."""

    run_id: str
    start_ms: int
    status: str
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    points: dict[Point, float] = field(default_factory=dict)

    def contradicts(self, facts: Facts) -> bool:
        """Say whether a point is here that the files do not have."""
        nowhere = math.nan
        return any(
            not math.isclose(facts.points.get(point, nowhere), value, rel_tol=1e-9)
            for point, value in self.points.items()
        )


class Writer:
    """One MLflow store. Where it does not answer, methods raise Unreachable.

    ``wait_s`` is how long to wait for another process that writes.
    """

    def __init__(self, store: Store, wait_s: float) -> None:
        self.store, self.wait_s = store, wait_s
        self.experiments: dict[str, str] = {}
        """Suite -> experiment id, for the suites written so far."""
        self._opened: Any = None
        self._known: dict[MirrorPlace, Mirrored] = {}

    @property
    def _client(self) -> Any:
        if self._opened is None:
            database = self.store.database
            if database is not None and not database.exists():
                _make(database)
            self._opened = MlflowClient(self.store.uri)
        return self._opened

    def address(self, suite: str) -> str:
        """Return the page of a suite that was written to a server."""
        return experiment_page(self.store.uri, self.experiments[suite])

    def write(self, facts: Facts, samples: Sequence[Sample] = (), pid: int | None = None) -> None:
        """Make MLflow say ``facts``; ``pid`` is the process that trains.

        Raises:
            EnvironmentFault: MLflow refuses this run; others may pass.
        """
        with self._turn():
            for suite, cell in facts.cells:
                place = (suite, cell, facts.key)
                known = self._known.pop(place, None) or self._find(place)
                if known is not None and known.contradicts(facts):
                    self._client.set_terminated(known.run_id, "KILLED")
                    self._client.delete_run(known.run_id)
                    known = None
                known = known or self._create(place, facts)
                self._tell(known, facts, samples, pid)
                if not facts.ended:
                    self._known[place] = known  # only what was told without an error is believed

    def versions(self) -> dict[MirrorPlace, str]:
        """Return the version of each mirrored run, empty while MLflow believes that it runs."""
        with self._turn():
            found = {}
            for run in self._search(f"tags.`{KEY_TAG}` != ''"):
                suite, cell, key, version = (
                    run.data.tags.get(tag, "")
                    for tag in (SUITE_TAG, CELL_TAG, KEY_TAG, VERSION_TAG)
                )
                found[suite, cell, key] = "" if run.info.status == "RUNNING" else version
            return found

    def end_orphans(self, known: set[str]) -> int:
        """End runs whose process died on this machine and whose files are gone; return how many."""
        ended = 0
        with self._turn():
            host = socket.gethostname()
            for run in self._search("attributes.status = 'RUNNING'"):
                tags = run.data.tags
                if tags.get(HOST_TAG) != host or tags.get(KEY_TAG) in known:
                    continue
                pid = tags.get(PID_TAG, "")
                if not (pid.isdecimal() and psutil.pid_exists(int(pid))):
                    self._client.set_terminated(run.info.run_id, "KILLED")
                    ended += 1
        return ended

    # -- reading ---------------------------------------------------------------------------------

    def _search(self, query: str) -> Iterator[Run]:
        ours = self._client.search_experiments(filter_string=f"tags.`{SUITE_TAG}` != ''")
        ids, token = [experiment.experiment_id for experiment in ours], None
        while ids:
            page = self._client.search_runs(ids, query, max_results=1000, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _find(self, place: MirrorPlace) -> Mirrored | None:
        suite, cell, key = place
        query = f"tags.`{KEY_TAG}` = '{key}' AND tags.`{CELL_TAG}` = '{cell}'"
        found = self._client.search_runs([self._experiment(suite)], query, max_results=1)
        if not found:
            return None
        run = found[0]
        points = {
            (metric.key, metric.step): metric.value
            for name in run.data.metrics
            if not name.startswith("system/")
            for metric in self._client.get_metric_history(run.info.run_id, name)
        }
        info, data = run.info, run.data
        return Mirrored(
            info.run_id, info.start_time, info.status, dict(data.tags), dict(data.params), points
        )

    # -- writing ---------------------------------------------------------------------------------

    def _experiment(self, suite: str) -> str:
        if suite not in self.experiments:
            found = self._client.get_experiment_by_name(suite)
            if found is None:
                tags = {SUITE_TAG: suite, "mlflow.experimentKind": "custom_model_development"}
                made = self._client.create_experiment(suite, self.store.artifacts, tags)
                self.experiments[suite] = made
                return made
            if found.lifecycle_stage == "deleted":
                self._client.restore_experiment(found.experiment_id)
            self.experiments[suite] = found.experiment_id
        return self.experiments[suite]

    def _create(self, place: MirrorPlace, facts: Facts) -> Mirrored:
        suite, cell, _ = place
        tags = {SUITE_TAG: suite, CELL_TAG: cell, **_SOURCE, **facts.tags}
        name = f"{cell} seed {facts.seed}"
        start_ms = facts.started_ms or int(time.time() * 1000)
        run = self._client.create_run(self._experiment(suite), start_ms, tags, name)
        data = facts.data
        kind, source = ("http", {"url": data.url}) if data.url else ("code", {"tags": None})
        details = json.dumps(source), None, json.dumps(data.profile)
        dataset = Dataset(data.name, data.digest, kind, *details)
        tag = InputTag("mlflow.data.context", "train and test")
        self._client.log_inputs(run.info.run_id, [DatasetInput(dataset, [tag])])
        return Mirrored(run.info.run_id, start_ms, "RUNNING", tags)

    def _tell(
        self, known: Mirrored, facts: Facts, samples: Sequence[Sample], pid: int | None
    ) -> None:
        tags = {**facts.tags, "resbench.status": facts.status.value}
        if not facts.ended:
            tags |= {HOST_TAG: socket.gethostname(), PID_TAG: str(pid)}
        self._log(known, facts, tags, samples)
        if REASON_TAG in known.tags and REASON_TAG not in tags:  # of an earlier attempt
            self._client.delete_tag(known.run_id, REASON_TAG)
            del known.tags[REASON_TAG]
        status = MLFLOW_STATUS[facts.status]
        if known.status != status:
            if facts.ended:
                end_ms = known.start_ms + int(1000 * max(facts.seconds.values(), default=0))
                self._client.set_terminated(known.run_id, status, end_ms)
            else:
                self._client.update_run(known.run_id, status)
            known.status = status
        if facts.ended and known.tags.get(VERSION_TAG) != facts.version:
            for path in facts.artifacts:
                self._client.log_artifact(known.run_id, str(path))
            self._client.set_tag(known.run_id, VERSION_TAG, facts.version)  # last: all is there
            known.tags[VERSION_TAG] = facts.version

    def _log(
        self, known: Mirrored, facts: Facts, tags: Mapping[str, str], samples: Sequence[Sample]
    ) -> None:
        """Log what is new, in as few requests as the limits allow."""
        points = {p: v for p, v in facts.points.items() if p not in known.points}
        tags = {k: v for k, v in tags.items() if known.tags.get(k) != v}
        params = {k: v for k, v in facts.params.items() if k not in known.params}
        metrics = [
            Metric(name, value, known.start_ms + int(1000 * facts.seconds.get(epoch, 0)), epoch)
            for (name, epoch), value in points.items()
        ]
        metrics += [
            Metric(f"system/{name}", value, s.time_ms, max(0, s.time_ms - known.start_ms) // 1000)
            for s in samples
            for name, value in s.values.items()
        ]
        batches = (
            _chunks(metrics, _METRICS),
            _chunks([Param(k, v) for k, v in params.items()], _TEXTS),
            _chunks([RunTag(k, v) for k, v in tags.items()], _TEXTS),
        )
        for batch in zip_longest(*batches, fillvalue=()):
            self._client.log_batch(known.run_id, *batch)
        known.points |= points
        known.tags |= tags
        known.params |= params

    @contextmanager
    def _turn(self) -> Iterator[None]:
        try:
            with turn(self.store, self.wait_s):
                yield
        except ResbenchError:
            raise
        except Exception as error:  # whatever lies below MLflow: sockets, SQL, migrations
            text = f"{self.store.shown}: {_why(error)}."
            if isinstance(error, MlflowException) and error.get_http_status_code() < 500:
                raise EnvironmentFault(f"{text} MLflow refused what it was told.") from error
            raise Unreachable(
                f"{text} Nothing is lost: {self.store.sync} fills the mirror from the files later."
            ) from error


def _make(database: Path) -> None:
    """Make an empty MLflow database, whole or not at all: a half-migrated one is of no use."""
    unfinished = Path(f"{database}-new")
    for left in (unfinished, Path(f"{unfinished}-journal")):  # a stale journal would be replayed
        left.unlink(missing_ok=True)
    MlflowClient(f"sqlite:///{unfinished}")
    unfinished.replace(database)


def _chunks(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def _why(error: BaseException) -> str:
    """Return the first cause of an error in one line: MLflow wraps it in pages of text."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return one_line(str(error).strip().partition("\n")[0] or type(error).__name__)[:300]
