"""The gates' attribute classifier: shape, colour and texture of a scene's single item."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ecdm.data.scenes import COLOURS, SHAPES, Item
from ecdm.data.textures import FILLINGS

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": tuple(COLOURS),
    "texture": tuple(FILLINGS),
}
CONFIG, WEIGHTS = "config.json", "model.safetensors"
GROUPS = 8


class AttributeClassifier(nn.Module):
    """Images (b, 3, h, w) in [−1, 1] → logits per attribute, each (b, classes)."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        sizes = (3, width, 2 * width, 3 * width, 4 * width)
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(GROUPS, after), nn.SiLU()]
        self.body = nn.Sequential(*layers, nn.Conv2d(sizes[-1], sizes[-1], 3, padding=1), nn.SiLU())
        self.heads = nn.ModuleDict({k: nn.Linear(2 * sizes[-1], len(v)) for k, v in ATTRIBUTES.items()})
        self.width = width

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.body(images)
        pooled = torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], dim=1)
        return {name: head(pooled) for name, head in self.heads.items()}

    def save(self, folder: Path) -> None:
        """Write config and safetensors weights."""
        folder.mkdir(parents=True)
        text = json.dumps({"_class_name": type(self).__name__, "width": self.width}, indent=2)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
        save_file({k: v.contiguous() for k, v in self.state_dict().items()}, folder / WEIGHTS)

    @classmethod
    def load(cls, folder: Path) -> AttributeClassifier:
        """Read what `save` wrote, in float32, frozen.

        Raises: FileNotFoundError naming what is missing; ValueError naming a config or weights that cannot be read or
        do not fit.
        """
        for path in (folder, folder / CONFIG, folder / WEIGHTS):
            if not path.exists():
                raise FileNotFoundError(
                    f"{path}: missing component of the foundation, expected the attribute classifier of the gates"
                )
        model = cls(_width(folder / CONFIG))
        try:
            model.load_state_dict(load_file(folder / WEIGHTS))
        except (SafetensorError, RuntimeError) as error:
            raise ValueError(f"{folder / WEIGHTS}: cannot be read as the classifier's weights: {error}") from error
        return model.float().requires_grad_(False).eval()


def _width(path: Path) -> int:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: found no JSON ({error}), expected the classifier's config") from error
    width = config.get("width") if isinstance(config, dict) else None
    if type(width) is not int or width < 1 or width % GROUPS:
        raise ValueError(f"{path}: width: found {width!r}, expected a multiple of {GROUPS}")
    return width


def labels(items: Sequence[Item | Mapping[str, Any]]) -> dict[str, Tensor]:
    """Class numbers (b,) per attribute, of items or of their descriptions."""
    shown = [vars(item) if isinstance(item, Item) else item for item in items]
    return {name: torch.tensor([classes.index(item[name]) for item in shown]) for name, classes in ATTRIBUTES.items()}


def accuracy(logits: dict[str, Tensor], truth: dict[str, Tensor]) -> dict[str, Tensor]:
    """Per-image correctness (b,) float64, 0 or 1, per attribute."""
    return {name: (logits[name].argmax(1) == truth[name]).double() for name in ATTRIBUTES}
