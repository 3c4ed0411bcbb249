"""The state of a run between epochs, as safetensors bytes: no pickle is ever written or read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import torch
from safetensors.torch import load, save
from torch import nn

from resbench.train.optim import Optimizer


def dump(model: nn.Module, optimizer: Optimizer, meta: dict[str, Any]) -> bytes:
    """Serialise weights, running statistics, optimizer state and the run's counters.

    Random state is not stored: every epoch derives its own from the seed and the epoch number.
    """
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in _named(model, optimizer)
    }
    return save(tensors, {"meta": json.dumps(meta, sort_keys=True, allow_nan=False)})


def restore(payload: bytes, model: nn.Module, optimizer: Optimizer) -> None:
    """Copy a dumped state into a model and optimizer of the same specification.

    Raises:
        ValueError: the payload does not fit the network, which is left as it was.
    """
    tensors = load(payload)
    targets = dict(_named(model, optimizer))
    if tensors.keys() != targets.keys():
        odd = sorted(tensors.keys() ^ targets.keys())
        raise ValueError(
            f"the checkpoint does not fit the network: {odd[0]} and {len(odd) - 1} more"
        )
    for name, target in targets.items():
        if tensors[name].shape != target.shape:
            raise ValueError(f"the checkpoint does not fit the network: shape of {name}")
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(tensors[name])


def read_meta(payload: bytes) -> dict[str, Any]:
    """Return the counters of a dumped state without its tensors.

    Raises:
        ValueError, KeyError, TypeError, RecursionError: it was never a dumped state.
    """
    length = int.from_bytes(payload[:8], "little")
    header = json.loads(payload[8 : 8 + length])
    meta = json.loads(header["__metadata__"]["meta"])
    if not isinstance(meta, dict):
        raise ValueError(f"its counters are a {type(meta).__name__}")
    return meta


def _named(model: nn.Module, optimizer: Optimizer) -> Iterator[tuple[str, torch.Tensor]]:
    for name, tensor in model.state_dict().items():
        yield f"model.{name}", tensor
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for parameter, state in optimizer.state.items():
        for field, tensor in state.items():
            yield f"optim.{names[id(parameter)]}.{field}", tensor
