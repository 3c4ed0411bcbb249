"""The command line: one small module per verb, imported when the verb is used."""

import sys

if sys.platform == "win32":  # before a module is imported that Windows lacks
    print("resbench: Windows lacks file locks and signals it needs. Use WSL.", file=sys.stderr)
    sys.exit(3)
