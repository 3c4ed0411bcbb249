"""A worker that speaks the runner's protocol and trains nothing, to measure the runner alone."""

from __future__ import annotations

import json
import sys
from typing import Any

EPOCHS = 3


def main() -> None:
    """Answer every group of jobs with the events of a short run."""
    _emit("ready", [])
    for line in sys.stdin:
        for job in json.loads(line):
            for epoch in range(1, EPOCHS + 1):
                _emit("step", [job["key"]], step=epoch, steps=EPOCHS)
                numbers = {"epoch": epoch, "epochs": EPOCHS, "images_per_s": 1.0}
                _emit("epoch", [job["key"]], step=epoch, steps=EPOCHS, **numbers)
            _emit("end", [job["key"]], outcome="done", text="")
        _emit("idle", [])


def _emit(event: str, keys: list[str], **fields: Any) -> None:
    print(json.dumps({"event": event, "keys": keys, **fields}), flush=True)


if __name__ == "__main__":
    main()
