"""``python ill_command.py FAULTS run ...``: resbench with workers that fall ill as FAULTS says."""

from __future__ import annotations

import sys
from pathlib import Path

from resbench.cli.main import main
from resbench.runner import worker

ILL_WORKER = str(Path(__file__).with_name("ill_worker.py"))
worker.COMMAND = (sys.executable, "-P", ILL_WORKER, sys.argv.pop(1))
main()
