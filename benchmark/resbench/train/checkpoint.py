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
    tensors = {name: t.detach().cpu().contiguous() for name, t in _named(model, optimizer)}
    return save(tensors, {"meta": json.dumps(meta, sort_keys=True, allow_nan=False)})


def restore(payload: bytes, model: nn.Module, optimizer: Optimizer) -> None:
    """Copy a dumped state into a model and optimizer of the same specification.

    Raises:
        ValueError: the payload does not fit the network, which is left as it was.
    """
    tensors, targets = load(payload), dict(_named(model, optimizer))
    odd = [
        name
        for name in sorted(tensors.keys() | targets.keys())
        if name not in tensors or name not in targets or tensors[name].shape != targets[name].shape
    ]
    if odd:
        raise ValueError(
            f"the checkpoint does not fit the network: {odd[0]} and {len(odd) - 1} more"
        )
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(tensors[name])


def read_meta(payload: bytes) -> Any:
    """Return the counters of a dumped state without its tensors.

    Raises:
        ValueError, KeyError, TypeError, RecursionError: it was never a dumped state.
    """
    length = int.from_bytes(payload[:8], "little")
    header = json.loads(payload[8 : 8 + length])
    return json.loads(header["__metadata__"]["meta"])


def named_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return weights and running statistics by name; one that has several, by the first."""
    names: dict[torch.Tensor, str] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        names.setdefault(tensor, name)
    return {name: tensor.detach() for tensor, name in names.items()}


def _named(model: nn.Module, optimizer: Optimizer) -> Iterator[tuple[str, torch.Tensor]]:
    for name, tensor in named_state(model).items():
        yield f"model.{name}", tensor
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for parameter, state in optimizer.state.items():
        for field, tensor in state.items():
            yield f"optim.{names[id(parameter)]}.{field}", tensor
