"""``make bench``: our training, testing and loading against the loop that people use.

Nothing here is a timed test. Contenders take turns in one process on one machine, and ratios come
with their spread; docs/speed.md says what was found.
"""
