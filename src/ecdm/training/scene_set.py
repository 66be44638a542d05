"""The captioned scenes that the embedded networks are trained on."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor
from transformers import CLIPTokenizer

from ecdm.data.scenes import Scene
from ecdm.models.foundation import token_ids
from ecdm.training.pretrain import draw_scenes, to_pixels


class SceneSet:
    """The first `count` scenes of the training split, drawn when they are asked for."""

    def __init__(self, seed: int, count: int, size: int, workers: int) -> None:
        self.seed, self.count, self.size, self.workers = seed, count, size, workers

    @cached_property
    def scenes(self) -> list[Scene]:
        """The scenes themselves."""
        return draw_scenes(self.seed, self.count, self.size, self.workers)

    @cached_property
    def pixels(self) -> Tensor:
        """Their images (n, 3, size, size) uint8."""
        return to_pixels(self.scenes)

    @cached_property
    def captions(self) -> list[str]:
        """Their captions, the same number each, one after the other."""
        return [caption for scene in self.scenes for caption in scene.captions]

    def tokens(self, tokenizer: CLIPTokenizer) -> Tensor:
        """The captions' token numbers (n, k, length)."""
        return token_ids(tokenizer, self.captions).view(len(self.scenes), -1, tokenizer.model_max_length)
