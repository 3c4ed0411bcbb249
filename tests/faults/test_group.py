"""A folder that a group shares: the others can resume what one of them writes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .running import ARL, prepare, ran_well


def test_every_file_of_a_results_folder_can_be_written_by_its_group(tmp_path: Path) -> None:
    prepare(tmp_path)
    results = tmp_path / "results"
    results.mkdir()
    results.chmod(0o2775)
    ran_well(tmp_path, "bash", "-c", 'umask 002; "$@"', "sh", *ARL)
    modes = {path.relative_to(results): path.stat().st_mode for path in results.rglob("*")}
    assert Path("resbench.json") in modes
    assert any(path.name == "record.json" for path in modes)
    for path, mode in modes.items():
        assert mode & stat.S_IWGRP, path
        assert os.stat(results / path).st_gid == results.stat().st_gid
