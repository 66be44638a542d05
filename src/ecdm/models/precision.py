"""Which number format the networks compute in, and where."""

from __future__ import annotations

import torch

from ecdm.sections.base import Precision


def default_device() -> torch.device:
    """The GPU that this process is to use, else the CPU."""
    return torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")


def resolved(precision: Precision, device: torch.device) -> Precision:
    """`auto` as what the device is good at: bf16 where it multiplies bfloat16 itself, else no.

    A processor without such instructions emulates them, at several times the cost of float32.
    """
    if precision != "auto":
        return precision
    return "bf16" if multiplies_bf16(device) else "no"


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for products of bfloat16 numbers."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16"))
