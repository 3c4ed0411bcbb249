"""Data sets, label noise, subsets and the batches that training reads.

``sources`` finds and loads a data set of :mod:`resbench.datasets`: by torchvision from the
published archives (``archives``), or from Parquet (``parquet``). ``pipeline`` makes batches of it.
Only ``archives`` and ``pipeline`` import torch.
"""
