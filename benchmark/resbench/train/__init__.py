"""The worker: one run from a specification to a record."""
