"""The perceptual distance: LPIPS, or its stand-in where the pretrained AlexNet cannot be had."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import lpips
import torch
from torch import Tensor, nn
from torchvision.models import AlexNet_Weights

SEED = 0
ALEXNET = Path(AlexNet_Weights.IMAGENET1K_V1.url).name
FETCH = """python -c "from torchvision.models import alexnet; alexnet(weights='IMAGENET1K_V1')\""""


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
    Raises: as `check_perceptual`.
    """
    check_perceptual(name)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips calls torchvision in its old form
        torch.manual_seed(SEED)
        return Perceptual(lpips.LPIPS(net="alex", pnet_rand=name == "lpips_random", verbose=False))


def check_perceptual(name: str) -> None:
    """Raise ValueError for another name; for `lpips` FileNotFoundError or ValueError unless AlexNet is in the cache.

    torchvision would fetch it unasked, and reads by unpickling: only the published file, by its checksum, may be read.
    """
    if name not in ("lpips", "lpips_random"):
        raise ValueError(f"evaluate.perceptual: found {name!r}, expected lpips or lpips_random")
    if name == "lpips_random":
        return
    path = Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET
    if not path.is_file():
        raise FileNotFoundError(
            f"evaluate.perceptual: lpips needs torchvision's AlexNet, found no {path}; "
            f"`{FETCH}` fetches it, and lpips_random needs none"
        )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # torchvision's names end with the first digits of the checksum.
    wanted = path.stem.rpartition("-")[2]
    if not digest.startswith(wanted):
        raise ValueError(f"{path}: found a SHA-256 that begins with {digest[: len(wanted)]}, expected {wanted}")
