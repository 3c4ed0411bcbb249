"""Why a run may have to stop between two steps: a signal, or the end of a budget."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from resbench.process import STOP_SIGNALS
from resbench.protocol import AtStep, Event

Emit = Callable[[Event], None]


class Interrupted(Exception):
    """A signal has come, or the work would end after the deadline; the run can be resumed."""


@dataclass
class Control:
    """Checked before every step."""

    emit: Emit
    deadline: float | None = None
    heartbeat_s: float = 1.0
    stop: bool = False
    _last: float = float("-inf")

    def install(self) -> None:
        """Stop at the next step after a signal; more of them change nothing.

        A scheduler may signal every process of a job, and the parent asks once more. Only the
        parent ends a worker at once: it kills it.
        """
        for number in STOP_SIGNALS:
            signal.signal(number, lambda *_: setattr(self, "stop", True))

    def check(self, expected_s: float = 0.0) -> None:
        """Raise Interrupted unless ``expected_s`` more seconds of work may begin."""
        late = self.deadline is not None and time.monotonic() + expected_s >= self.deadline
        if self.stop or late:
            raise Interrupted

    def before_step(self, keys: list[str], total: int, step: int) -> None:
        """Check, and report progress now and then."""
        self.check()
        now = time.monotonic()
        if now - self._last >= self.heartbeat_s:
            self._last = now
            for key in keys:
                self.emit(AtStep(key, step, total))
