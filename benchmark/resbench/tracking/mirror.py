"""The mirror process: ``python -m resbench.tracking.mirror --uri URI --results DIR``.

Events come in and answers go out as one JSON object a line. An event says only that something
happened; what is mirrored is read from the files, so that nothing depends on an event's arrival and
what failed is made good by the next attempt.

In: ``begin`` (key, cells, spec, context, pid), ``epoch`` (key), ``end`` (key, outcome), ``quit``.
Out: ``ready``, ``mirrored`` (key), ``warning`` (text), ``address`` (url).
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from resbench.errors import ResbenchError
from resbench.store.layout import RunFolder
from resbench.store.locks import is_locked
from resbench.store.state import Status
from resbench.tracking.facts import Facts, begun, read_facts, with_epochs
from resbench.tracking.settings import find_store
from resbench.tracking.system import Sample, Sampler
from resbench.tracking.writer import Writer

EPOCHS_S = 2.0
"""Epochs are collected for so long before they are written."""
RETRY_S = 10.0
"""Pause after a failure."""
SAMPLE_S = 10.0
"""Between two samples of system metrics, as MLflow does."""
SHORTEST_S = 1.0
"""The least: a share of the CPU needs some time to be measured."""
LAST_WORDS_S = 30.0
"""How long the process outlives a parent that died."""
WAIT_S = 20.0
"""For another resbench that writes, or makes the database."""
_SAMPLES = 500
"""Samples kept for a store that cannot be reached."""
_OUTCOMES = {"budget": Status.INTERRUPTED}

Say = Callable[[dict[str, Any]], None]


@dataclass
class Live:
    """A run between its begin and the moment its end is mirrored."""

    facts: Facts
    pid: int | None
    ended: Status | None = None
    due: float | None = 0.0
    """Monotonic time of the next write; None while there is nothing new."""
    samples: list[Sample] = field(default_factory=list)
    sampled: float = field(default_factory=time.monotonic)
    """When system metrics were last taken, or began to be measured."""


class Mirror:
    """Keeps MLflow up with the runs of one session."""

    def __init__(self, results: Path, writer: Writer, say: Say) -> None:
        self.results, self.writer, self.say = results, writer, say
        self.live: dict[str, Live] = {}
        self._sampler = Sampler()
        self._sample_due = 0.0
        self._said: set[str] = set()

    def handle(self, event: dict[str, Any]) -> None:
        """Take note of an event."""
        if event["event"] == "begin":
            self._begin(event)
        live = self.live.get(event.get("key", ""))
        if live is None:
            return
        if event["event"] == "epoch" and live.due is None:
            live.due = time.monotonic() + EPOCHS_S
        elif event["event"] == "end" and event["outcome"] == "locked":
            del self.live[event["key"]]  # the session that has it mirrors it
        elif event["event"] == "end":
            self._sample([live])
            outcome = event["outcome"]
            live.ended, live.due = _OUTCOMES.get(outcome) or Status(outcome), 0.0

    def _begin(self, event: dict[str, Any]) -> None:
        cells = [[place["suite"], place["cell"]] for place in event["cells"]]
        try:
            facts = begun(event["key"], event["spec"], {**event["context"], "cells": cells})
        except ResbenchError as error:
            return self._warn(error)
        pid = event.get("pid")
        live = self.live[event["key"]] = Live(facts, pid)
        if RunFolder(self.results, event["key"]).record.exists():
            live.due = None  # it was finished elsewhere; its end comes next
        if pid is not None:
            self._sampler.watch(pid)

    def work(self) -> float:
        """Write what is due and return the seconds until something is due again."""
        now = time.monotonic()
        if now >= self._sample_due:
            self._sample([live for live in self.live.values() if live.ended is None])
            self._sample_due = now + SAMPLE_S
        for key, live in list(self.live.items()):
            if live.due is not None and live.due <= now and not self._write(key, live):
                live.due = time.monotonic() + RETRY_S
        dues = [live.due for live in self.live.values() if live.due is not None]
        return max(0.0, min([self._sample_due, *dues]) - time.monotonic())

    def finish(self, patience_s: float) -> None:
        """Write everything once more; runs that nobody ended are told as their files are now.

        Workers that die with their parent have ``patience_s`` to do so.
        """
        deadline = time.monotonic() + patience_s
        for key, live in list(self.live.items()):
            folder = RunFolder(self.results, key).path
            while (locked := is_locked(folder)) and time.monotonic() < deadline:
                time.sleep(0.05)
            if live.ended or not locked:  # else another session works on it
                self._write(key, live, over=True)

    def _write(self, key: str, live: Live, *, over: bool = False) -> bool:
        """Bring MLflow up to date with one run; say whether that worked."""
        run = RunFolder(self.results, key)
        facts: Facts | None
        try:
            if live.ended is None and not over:
                facts = with_epochs(live.facts, run)
            else:
                facts = read_facts(run, status=live.ended) or replace(
                    live.facts, status=live.ended or Status.INTERRUPTED, version="not begun"
                )
                facts = replace(facts, cells=live.facts.cells)
            self.writer.write(facts, live.samples, live.pid)
        except ResbenchError as error:
            self._warn(error)
            return False
        live.samples, live.due = [], None
        self._announce(facts)
        if facts.ended:
            del self.live[key]
            self.say({"event": "mirrored", "key": key})
        return True

    def _sample(self, live: list[Live]) -> None:
        now = time.monotonic()
        live = [each for each in live if now - each.sampled >= SHORTEST_S]
        samples = self._sampler.sample(each.pid for each in live if each.pid is not None)
        for each in live:
            if each.pid in samples:
                each.samples = [*each.samples[1 - _SAMPLES :], samples[each.pid]]
                each.sampled = now
                each.due = now if each.due is None else each.due

    def _announce(self, facts: Facts) -> None:
        for suite, _ in facts.cells:
            if self.writer.store.database is None and suite not in self._said:
                self._said.add(suite)
                self.say({"event": "address", "url": self.writer.address(suite)})

    def _warn(self, error: ResbenchError) -> None:
        if (text := str(error)) not in self._said:  # a dead server is one warning
            self._said.add(text)
            self.say({"event": "warning", "text": text})


def main() -> None:
    """Serve events until ``quit`` or the end of the input."""
    parser = argparse.ArgumentParser(prog="python -m resbench.tracking.mirror")
    parser.add_argument("--uri", required=True)
    parser.add_argument("--results", required=True, type=Path)
    options = parser.parse_args()
    answers = os.dup(1)
    os.dup2(2, 1)  # what MLflow prints must not break the line protocol
    for number in (signal.SIGINT, signal.SIGTERM):  # its parent handles them and tells of the end
        signal.signal(number, signal.SIG_IGN)
    os.nice(5)  # training goes first, but not alone: the mirror has to be ready before it ends

    def say(answer: dict[str, Any]) -> None:
        with suppress(BrokenPipeError):  # nobody listens any more, and there is work left
            os.write(answers, json.dumps(answer).encode() + b"\n")

    store = find_store(options.results, options.uri)
    mirror = Mirror(store.results, Writer(store, WAIT_S), say)
    say({"event": "ready"})
    orphaned = _serve(mirror)
    if orphaned:
        timer = threading.Timer(LAST_WORDS_S, os._exit, [1])
        timer.daemon = True
        timer.start()
    mirror.finish(patience_s=2.0 if orphaned else 0.0)


def _serve(mirror: Mirror) -> bool:
    """Handle events as they come and work in between; say whether they ended without ``quit``."""
    buffer, pause_s = b"", 0.0
    while True:
        if not select.select([0], [], [], pause_s)[0]:
            pause_s = mirror.work()
            continue
        chunk, pause_s = os.read(0, 1 << 16), 0.0
        *lines, buffer = (buffer + chunk).split(b"\n")
        for event in map(json.loads, lines):
            if event["event"] == "quit":
                return False
            mirror.handle(event)
        if not chunk:
            return True


if __name__ == "__main__":
    main()
