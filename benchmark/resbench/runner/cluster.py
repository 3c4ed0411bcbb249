"""Slurm: workers are submitted, never runs. The results folder with its locks is their queue.

A worker is an ordinary ``resbench run`` in a job. The script that is submitted is the one that
``--executor print`` shows and ``--executor local`` starts here. submitit's would not do: it
needs a pickle that only submitit's driver creates.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import resbench
from resbench.errors import EnvironmentFault, UsageError
from resbench.machine import JOB_VARIABLES, slurm_job
from resbench.process import PYTHON, STOP_SIGNALS
from resbench.runner.plan import PlannedRun
from resbench.words import one_line

NAME = "resbench"
"""Of every job, so that the queue can be asked for them."""
OWNED = ("array", "chdir", "job-name", "no-requeue", "open-mode", "requeue", "test-only", "wait")
"""Options of sbatch that are not the user's: with others the jobs would not be found or resume."""

MARGIN_S = 90.0
"""A worker ends its work this long before its job's limit, or a quarter of it if that is less."""
SIGNAL_S = 30
"""Slurm's own notice, in case the limit was lowered meanwhile; it may come a minute early."""

PAUSES_S = (2, 4, 8, 16, 32)
_BUSY = re.compile(
    r"busy|temporar|timed? ?out|try again|unable to contact|refused|zero bytes|standby mode",
    re.IGNORECASE,
)
"""What commands of Slurm say while its controller restarts or has too much to do."""
_UNCONFIGURED = re.compile(r"configuration (source|file)|slurm\.conf")
"""What they say where Slurm's package is installed, but no cluster."""
_WHERE = "Run this on a login node of a Slurm cluster."


@dataclass(frozen=True)
class SlurmJob:
    """A worker as squeue shows it. A job that has ended is not there: nothing needs accounting."""

    id: str
    state: str
    left: str
    """Of its time limit, as Slurm writes it."""
    node: str
    reason: str
    """Why it waits."""


def script(
    command: Sequence[str], results: Path, workers: int, options: Mapping[str, str | None]
) -> str:
    """Return the script of ``workers`` equal jobs that call resbench with ``command``.

    ``options`` are those of sbatch: a name without dashes, and a value or None.
    """
    for name, value in options.items():
        if name in OWNED:
            raise UsageError(f"sbatch option {name}: resbench sets it. Leave it out.")
        if not re.fullmatch("[a-z][a-z0-9-]*", name) or not (value or "").isprintable():
            raise UsageError(
                f"sbatch option {one_line(name)}: use its long name without dashes and a value on "
                "one line, like partition=gpu."
            )
    lines = {
        "array": f"0-{workers - 1}",
        "chdir": str(results.resolve()),
        "job-name": NAME,
        "open-mode": "append",
        "output": f"{jobs_folder(results)}".replace("%", "%%") + "/%A_%a.log",
        "requeue": None,
        "signal": f"B:USR1@{SIGNAL_S}",
        **options,
    }
    directives = (k if v is None else f"{k}={shlex.quote(v)}" for k, v in lines.items())
    return "\n".join([
        "#!/bin/bash",
        *(f"#SBATCH --{line}" for line in directives),
        f"cd {shlex.quote(os.getcwd())} || exit",
        # Slurm's signals are for the batch shell, so resbench takes its place.
        f"exec {shlex.join([*PYTHON, '-m', 'resbench', *command])}",
        "",
    ])  # fmt: skip


def jobs_folder(results: Path) -> Path:
    """Return the folder of the workers' logs."""
    return results / "jobs"


def fingerprint(runs: Sequence[PlannedRun]) -> str:
    """Return a digest of resbench's code and of the keys of ``runs``.

    The keys follow the suites, the user's networks and the data sets.
    """
    code = sorted(Path(resbench.__file__).parent.rglob("*.py"))
    parts = [*(path.read_bytes() for path in code), *sorted(run.key.encode() for run in runs)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


# -- from outside: submit, list, cancel ------------------------------------------------------------


def submit(text: str, workers: int) -> list[str]:
    """Submit a script's jobs, in as few arrays as Slurm's limit allows; return their numbers."""
    # Asked twice because of a timeout, Slurm may have both; a worker that finds no work ends.
    limit = re.search(r"MaxArraySize\s*=\s*(\d+)", _slurm("scontrol", "show", "config"))
    size = min(workers, max(1, int(limit[1])) if limit else workers)
    arrays = []
    for start in range(0, workers, size):
        last = min(size, workers - start) - 1
        said = _slurm("sbatch", "--parsable", f"--array=0-{last}", text=text)
        arrays.append(said.strip().split(";")[0])
    return arrays


def run_here(text: str, workers: int, results: Path) -> int:
    """Run a script's jobs on this machine without Slurm; return the worst exit code."""
    processes, noted = [], note_signals()
    # The job that this process may be in is the user's: no worker stops for it or requeues it.
    env = {name: value for name, value in os.environ.items() if name not in JOB_VARIABLES}
    for i in range(workers):
        with open(jobs_folder(results) / f"local_{i}.log", "ab") as log:
            # In a session of its own: a second signal ends a worker at once.
            process = subprocess.Popen(
                ("bash", "-c", text),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=env,
            )
            processes.append(process)
        if noted:  # before they all are there to pass it on to
            break

    def pass_on(number: int, _frame: object) -> None:
        for process in processes:
            process.send_signal(number)

    for number in STOP_SIGNALS:
        signal.signal(number, pass_on)
    if noted:
        pass_on(noted[0], None)
    codes = [process.wait() for process in processes]
    return max(128 - code if code < 0 else code for code in codes)


def jobs_of(results: Path, *only: str, patient: bool = False) -> list[SlurmJob]:
    """Return the workers of a results folder that are queued or at work, of whatever user.

    ``only`` are filters of squeue.
    """
    fields = "%i|%T|%L|%N|%r|%Z"
    said = _slurm("squeue", "-h", "-r", f"--name={NAME}", *only, "-o", fields, patient=patient)
    rows = (line.split("|", 5) for line in said.splitlines())
    place = str(results.resolve())
    return [SlurmJob(*row[:5]) for row in rows if len(row) == 6 and row[5] == place]


def cancel(results: Path) -> list[SlurmJob]:
    """End this user's workers of a results folder, cleanly, and return them."""
    jobs = jobs_of(results, f"--user={os.getuid()}", patient=True)
    if jobs:
        _slurm("scancel", *(job.id for job in jobs))
    return jobs


def ping() -> str | None:
    """Return what says that a controller answers; None where no cluster is configured."""
    try:
        return one_line(_slurm("scontrol", "ping", patient=False).strip())
    except EnvironmentFault as fault:
        if _UNCONFIGURED.search(str(fault)):
            return None
        raise


# -- from inside a job -----------------------------------------------------------------------------


def job_left_s() -> float | None:
    """Return the seconds until the limit of the job that this process is in, None without one."""
    with suppress(EnvironmentFault):  # without an answer Slurm's notice has to do
        end = _of_this_job("EndTime")
        if end is not None and end.isdigit():  # else Unknown
            return int(end) - time.time()
    return None


def note_signals() -> list[int]:
    """Survive stop signals from now on; return the list that they are added to.

    For the time before training starts and after it has ended; in between the session takes them.
    """
    noted: list[int] = []
    for number in STOP_SIGNALS:
        signal.signal(number, lambda number, _frame: noted.append(number))
    return noted


def requeue() -> bool:
    """Have Slurm run this job again; say whether it will.

    Not where Slurm is ending the job already: a preempted one it requeues by itself.
    """
    job = slurm_job()
    if job is None or _of_this_job("JobState") != "RUNNING":
        return False
    _slurm("scontrol", "requeue", job)
    return True


def _of_this_job(field: str) -> str | None:
    """Return what Slurm knows of the job that this process is in; None outside of one."""
    # Not SLURM_JOB_ID: one task of every array has the number of the whole array there.
    if (job := slurm_job()) is None:
        return None
    found = re.search(rf"\b{field}=(\S+)", _slurm("scontrol", "show", "job", job))
    return found[1] if found else None


def _slurm(*command: str, text: str | None = None, patient: bool = True) -> str:
    """Return what a command of Slurm prints; asked again while the controller is busy.

    Raises:
        EnvironmentFault: it is missing, or refuses.
    """
    for pause_s in PAUSES_S if patient else ():
        try:
            return _ask(command, text)
        except EnvironmentFault as fault:
            if not _BUSY.search(str(fault)):
                raise
        time.sleep(pause_s)
    return _ask(command, text)


def _ask(command: Sequence[str], text: str | None) -> str:
    # The user's variables for Slurm stand, but not over what the script needs or the answers say.
    ours = tuple(f"SBATCH_{name.upper().replace('-', '_')}" for name in OWNED)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SQUEUE_", *ours))}
    env = kept | {"SLURM_TIME_FORMAT": "%s"}  # a local time means two in an hour of autumn
    try:
        done = subprocess.run(
            command, input=text, env=env, capture_output=True, text=True, timeout=60
        )
    except FileNotFoundError:
        raise EnvironmentFault(f"{command[0]}: not on the PATH. {_WHERE}") from None
    except subprocess.TimeoutExpired:
        raise EnvironmentFault(f"{command[0]}: timed out. Try again later.") from None
    if done.returncode != 0:
        why = one_line((done.stderr.strip().splitlines() or ["failed"])[-1])
        what_to_do = f" {_WHERE}" if _UNCONFIGURED.search(why) else ""
        raise EnvironmentFault(f"{why.rstrip('.')} ({command[0]}).{what_to_do}")
    return done.stdout
