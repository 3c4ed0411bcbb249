"""The speed goals as measurements: what resbench does beside the loop that people use.

Nothing here is a timed test: contenders take turns in one run on one machine, and ratios are
printed with their spread.
"""
