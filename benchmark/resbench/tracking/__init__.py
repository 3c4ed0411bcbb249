"""The MLflow copy of a results folder, which can be dropped and rebuilt from the files.

:mod:`facts` reads a run folder, :mod:`export` writes what has changed to the store that
:mod:`mirror` finds, and :mod:`follow` repeats that while `resbench run` works. Only `export`
imports MLflow, and only when there is something to write: an import costs seconds.
"""
