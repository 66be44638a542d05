"""The option `--device` of the commands that run a model."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the option to a command's parser."""
    parser.add_argument("--device", help="where the model runs: cpu, cuda, … (default: cuda if available, else cpu)")


def find_device(name: str | None) -> torch.device:
    """The device of the option's value; ValueError for one that cannot compute here."""
    import torch

    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device: found {name!r}, expected one that works here, such as cpu: {error}") from error
    return torch.device(name)
