"""Fully sharded data parallelism (FSDP2): each process keeps a part of the branch; files and looks need it whole."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from accelerate import Accelerator, DistributedType
from torch import Tensor
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.distributed.tensor import DTensor, distribute_tensor

from ecdm.config import Train
from ecdm.models.branch import Branch

# Every process has the branch as a whole.
COPIES = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)


def in_parts(accelerator: Accelerator, settings: Train) -> bool:
    """Whether `launch` asks for the branch in parts; then sets accelerate's plugin to what this project needs.

    Raises: ValueError naming another way to share a network out, DeepSpeed or the first FSDP, or an optimiser that
    cannot work on parts.
    """
    if accelerator.distributed_type in COPIES:
        return False
    plugin = getattr(accelerator.state, "fsdp_plugin", None)
    if plugin is None or plugin.fsdp_version != 2:
        found = accelerator.distributed_type.value
        raise ValueError(f"launch.train: found {found}, expected plain data parallelism or FSDP with fsdp_version 2")
    if settings.optimiser != "adamw":
        raise ValueError(f"train.optimiser: found {settings.optimiser}, expected adamw for a branch in parts (FSDP)")
    # Weights stay float32, and autocast alone chooses what is computed in bf16.
    plugin.mixed_precision_policy = MixedPrecisionPolicy()
    # Every process has read the weights already.
    plugin.cpu_ram_efficient_loading = False
    return True


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor: of one in parts every process has to ask at the same point."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part(tensor: Tensor, target: Tensor) -> Tensor:
    """What this process keeps of a whole tensor that goes into `target`; nothing is sent."""
    if not isinstance(target, DTensor):
        return tensor
    placed = tensor.to(target.device)
    return distribute_tensor(placed, target.device_mesh, target.placements, src_data_rank=None)


class Twin:
    """A whole branch beside the one in parts, on the CPU while nobody looks at it."""

    def __init__(self, branch: Branch) -> None:
        self.branch = copy.deepcopy(branch).cpu()

    @torch.no_grad()
    def filled(self, weights: Iterable[Tensor]) -> Branch:
        """The branch with these weights, in the order of its parameters, gathered from all processes."""
        for mine, weight in zip(self.branch.parameters(), weights, strict=True):
            mine.copy_(whole(weight))
        return self.branch
