"""Train the first epoch of a recorded run again and print its line of metrics as JSON.

Usage: ``python replay.py RECORD.json DATA_FOLDER``
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from resbench.data.sources import identify, load
from resbench.suite.spec import RunSpec, plain_to
from resbench.train.engine import make_engine
from resbench.train.environment import set_up_device
from resbench.train.lane import Lane
from resbench.train.prepare import prepare_images


def main() -> None:
    record = json.loads(Path(sys.argv[1]).read_text())
    spec = plain_to(RunSpec, record["spec"])
    device = torch.device("cpu")
    set_up_device(device, record["environment"]["threads"])
    source = identify(spec.data.name, {spec.data.name: Path(sys.argv[2])})
    assert source.id == spec.data.id, "another data set than the record's"
    images = prepare_images(spec, load(source))
    lane = Lane(spec, images, device)
    make_engine([lane]).run_epoch(1, lambda _step: None)
    loss, err, *_ = lane.epoch_totals()
    test = lane.evaluate(images.test_images, images.test_labels)
    print(json.dumps([loss, err, test.loss, test.top1_err]))


if __name__ == "__main__":
    main()
