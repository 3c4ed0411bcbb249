"""``python -m resbench``: the console script, by the interpreter's name."""

import sys

if not sys.flags.safe_path:
    del sys.path[0]  # the working directory, whose random.py would stand in for the library's

from resbench.cli.main import main

main()
