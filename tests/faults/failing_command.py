"""``python failing_command.py FAULTS run ...``: its runs fail as FAULTS says.

``SILENCE_S`` in the environment is how long a worker may be silent, from its first step on: a start
takes as long as the machine is busy.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from resbench.cli.main import main
from resbench.protocol import AtStep, Event
from resbench.runner import session, worker

FAILING_WORKER = str(Path(__file__).with_name("failing_worker.py"))
LIMIT_S = float(os.environ.get("SILENCE_S", session.SILENCE_S))
heard = worker.Worker.heard


def hear(self: worker.Worker, event: Event) -> None:
    if isinstance(event, AtStep):
        session.SILENCE_S = LIMIT_S
    heard(self, event)


worker.Worker.heard = hear  # type: ignore[method-assign]
worker.COMMAND = (sys.executable, "-P", FAILING_WORKER, sys.argv.pop(1))
main()
