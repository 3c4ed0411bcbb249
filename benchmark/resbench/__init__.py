"""resbench replicates the tables of a paper and says whether the printed numbers hold."""

__version__ = "0.1.0"
