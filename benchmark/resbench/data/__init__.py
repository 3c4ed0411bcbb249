"""Data sets, label noise, subsets and the batches that training reads.

``sources`` says which data set a name means and loads it; ``pipeline`` turns it into batches. Only
``augment``, ``pipeline`` and ``torchvision_compat`` import torch.
"""
