"""The perceptual distance: LPIPS, or its stand-in where the pretrained AlexNet cannot be had."""

from __future__ import annotations

import warnings

import lpips
import torch
from torch import Tensor, nn

SEED = 0


class Perceptual(nn.Module):
    """(output, target), both (b, 3, h, w) in [−1, 1] → distances (b,), wherever they are and the network is."""

    def __init__(self, net: lpips.LPIPS) -> None:
        super().__init__()
        self.net = net.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        device = next(self.net.parameters()).device
        distance: Tensor = self.net(output.to(device), target.to(device))
        return distance.flatten().to(output.device)


def load_perceptual(name: str) -> Perceptual:
    """Build `lpips` (Zhang et al. 2018, AlexNet) or `lpips_random`.

    `lpips_random` puts an AlexNet trunk of fixed random weights under the package's trained linear heads; its
    values are not LPIPS and are never shown under that name.
    Raises: ValueError for another name; OSError when the pretrained trunk is neither cached nor to be downloaded.
    """
    if name not in ("lpips", "lpips_random"):
        raise ValueError(f"evaluate.perceptual: found {name!r}, expected lpips or lpips_random")
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips calls torchvision in its old form
        torch.manual_seed(SEED)
        try:
            return Perceptual(lpips.LPIPS(net="alex", pnet_rand=name == "lpips_random", verbose=False))
        except OSError as error:
            raise OSError(
                f"evaluate.perceptual: lpips needs torchvision's pretrained AlexNet, which is not in the cache and "
                f"could not be downloaded ({error}); lpips_random needs no download"
            ) from error
