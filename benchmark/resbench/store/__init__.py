"""The results folder: atomic files, locks, checkpoints, records, archives. Files are the truth."""
