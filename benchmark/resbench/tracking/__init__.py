"""The MLflow mirror of a results folder, which can be dropped and rebuilt from the files.

The runner talks to :mod:`resbench.tracking.client` and needs no MLflow; only
:mod:`resbench.tracking.writer` imports it.
"""
