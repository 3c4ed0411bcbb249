"""The results folder: atomic files, locks, checkpoints, records, packs. Files are the truth."""
