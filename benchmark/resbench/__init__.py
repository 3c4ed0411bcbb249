"""resbench replicates the tables of a paper and says whether the published numbers hold."""

__version__ = "0.1.0"
