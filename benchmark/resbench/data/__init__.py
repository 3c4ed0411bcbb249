"""Data sets, label noise, subsets and the batches that training reads.

``sources`` finds what a row of :mod:`resbench.datasets` names and loads it: by torchvision from the
published archives (``archives``), or from Parquet (``parquet``). ``pipeline`` turns it into
batches. Only ``archives``, ``augment`` and ``pipeline`` import torch.
"""
