"""How the networks lie in memory and are run while training: settings that change time and memory, not the method."""

from __future__ import annotations

import importlib
from typing import Any

import torch

from ecdm.config import Train
from ecdm.models.branch import Branch
from ecdm.models.foundation import Components
from ecdm.models.split_unet import feature_modules

# The blocks that make up the networks; each is compiled once for all its copies.
REPEATED = ("BasicTransformerBlock", "ResnetBlock2D")
BACKEND, GRAPHS = "inductor", 1024


def arrange(branch: Branch, components: Components, settings: Train, whole: bool = True) -> None:
    """Set up branch and frozen networks as the settings say; `whole`: the branch is not going to be in parts."""
    networks: list[Any] = [branch.controlnet, components.unet, components.controlnet_canny]
    if settings.gradient_checkpointing:
        # The gradient passes through the frozen decoder too, whose activations are the larger part.
        branch.controlnet.enable_gradient_checkpointing()
        components.unet.enable_gradient_checkpointing()
    if settings.channels_last:
        # FSDP takes contiguous weights alone.
        for network in networks if whole else networks[1:]:
            network.to(memory_format=torch.channels_last)
    if settings.compile:
        # Blocks of a class share a cache with a place for each shape; beyond its limit they would not be compiled.
        torch._dynamo.config.recompile_limit = GRAPHS
        torch._dynamo.config.accumulated_recompile_limit = GRAPHS
        for network in networks:
            compile_blocks(network)


def restore(branch: Branch) -> None:
    """Back to the usual memory layout, which files have."""
    branch.to(memory_format=torch.contiguous_format)


def compile_blocks(network: Any) -> None:
    """Compile every repeated block in place, when it is first used.

    Not those whose outputs are listened to: a compiled module knows only the hooks it was compiled with.
    """
    listened = feature_modules(network) if hasattr(network, "up_blocks") else []
    for module in network.modules():
        if type(module).__name__ in REPEATED and module not in listened and module._compiled_call_impl is None:
            module.compile(backend=BACKEND)


def make_optimiser(settings: Train, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """AdamW over parameter groups, or its 8-bit form.

    Raises: ValueError naming train.optimiser where bitsandbytes is not installed.
    """
    if settings.optimiser == "adamw":
        return torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=True)
    try:
        library: Any = importlib.import_module("bitsandbytes")
    except ImportError as error:
        raise ValueError("train.optimiser: adamw_8bit needs the package bitsandbytes, found none") from error
    optimiser: torch.optim.Optimizer = library.optim.AdamW8bit(groups, weight_decay=settings.weight_decay)
    return optimiser
