"""Entry point of ``resbench``: finds the verb, turns errors into lines and exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import click

from resbench import __version__
from resbench.errors import ExitCode, ResbenchError, did_you_mean
from resbench.process import settle, unwind_on_signals

VERBS = {
    "run": "Train what a suite needs and has not run yet.",
    "report": "Compare the published numbers with the measured ones.",
    "plan": "Show what would run, how long it takes, and what it can decide.",
    "status": "Show the runs of a results folder and their progress.",
    "cancel": "Cancel your Slurm jobs for a results folder.",
    "new": "Create the files for a paper of your own.",
    "validate": "Check suite files.",
    "verify": "Recompute every record's errors from its predictions.",
    "masks": "Draw what the soft masks of trained networks do to images.",
    "explain": "Say why a measured error differs from the published one.",
    "compare": "Compare two results folders, run by run.",
    "models": "Compare the sizes of the networks with the published ones.",
    "doctor": "Check what this machine and a results folder can do.",
    "data": "List and fetch data sets.",
    "pack": "Pack finished runs into one file.",
    "merge": "Add packed runs to a results folder.",
    "sync": "Bring MLflow up to date with the results folder.",
    "ui": "Serve the MLflow UI of the results folder.",
}
"""Verb and one-line help, so that the help page imports no verb's module."""
COMPLETE = "_RESBENCH_COMPLETE"
"""The variable by which a shell asks for completions, as click's scripts set it."""


class Verbs(click.Group):
    """A group that imports a verb's module only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order in which a user needs them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a verb's command."""
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(f"resbench.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or suggest the one that was meant."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            raise click.UsageError(f"unknown command '{args[0]}'.{did_you_mean(args[0], VERBS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs from the table above."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="resbench")
def cli() -> None:
    """Replicate the tables of a paper and say honestly whether the numbers hold."""


def main() -> None:
    """Run the command line; never end in a traceback for what a user can cause."""
    settle()
    unwind_on_signals()
    if (asked := os.environ.get(COMPLETE)) is not None:
        from click.shell_completion import shell_complete

        sys.exit(shell_complete(cli, {}, "resbench", COMPLETE, asked))
    try:
        with cli.make_context("resbench", sys.argv[1:]) as context:
            code = cli.invoke(context)
        sys.stdout.flush()  # here, where a refusal can still be reported
        sys.exit(code if isinstance(code, int) else ExitCode.OK)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except getattr(click.exceptions, "NoArgsIsHelpError", ()) as page:  # click 8.1 has none
        print(page.format_message(), file=sys.stderr)
        sys.exit(ExitCode.USAGE)
    except click.ClickException as error:
        at = getattr(error, "ctx", None)
        verb = [word for word in sys.argv[1:2] if word in VERBS]
        where = at.command_path if at else " ".join(["resbench", *verb])
        said = " ".join(error.format_message().split())
        reads_runs = any(p.name == "results" for p in (at.command.params if at else ()))
        if reads_runs and getattr(error, "option_name", "") == "--tier":
            said = f"no --tier here: {verb[0]} takes the runs of every tier. Leave it out."
        end = "" if said.endswith((".", "?", ")")) else "."
        print(f"{where}: {said}{end} See `{where} --help`.", file=sys.stderr)
        sys.exit(ExitCode.USAGE)
    except ResbenchError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(ExitCode.OK)  # the reader of our output stopped reading, as `head` does
    except UnicodeEncodeError as error:  # no JSON and no file can hold such a name
        print(f"{error.object}: this name is not UTF-8. Choose another.", file=sys.stderr)
        sys.exit(ExitCode.USAGE)
    except OSError as error:
        from resbench.store.atomic import fault

        gone = isinstance(error, FileNotFoundError)  # the one that is asked for without a name
        what = error.filename or ("the current folder" if gone else "resbench")
        print(fault(Path(os.fsdecode(what)), error), file=sys.stderr)
        sys.exit(ExitCode.ENVIRONMENT)
