"""CLIP's view of images and texts: unit features, and the CLIP score."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ecdm.models.networks import Clip


def image_features(clip: Clip, images: Tensor) -> Tensor:
    """Unit features (b, width) of images (b, 3, h, w) in [0, 1], resized to what the network takes."""
    if images.shape[-2:] != (clip.size, clip.size):
        side = (clip.size, clip.size)
        images = F.interpolate(images, side, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    mean, deviation = (values.to(images) for values in (clip.mean, clip.deviation))
    features: Tensor = clip.model.get_image_features((images - mean) / deviation).pooler_output
    return F.normalize(features, dim=1)


def text_features(clip: Clip, texts: Sequence[str]) -> Tensor:
    """Unit features (b, width) of texts, cut to the tokenizer's length."""
    tokens = clip.tokenizer(
        list(texts),
        padding="max_length",
        max_length=clip.tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).to(clip.model.device)
    return F.normalize(clip.model.get_text_features(**tokens).pooler_output, dim=1)


@torch.no_grad()
def clip_score(clip: Clip, images: Tensor, texts: Sequence[str]) -> Tensor:
    """CLIP score (b,) float64 in [0, 100]: 100 · max(cos, 0) of image and text (Hessel et al. 2021, scaled by 100)."""
    device = clip.model.device
    cosine = (image_features(clip, images.to(device).float()) * text_features(clip, texts)).sum(1)
    return 100 * cosine.double().clamp(min=0).cpu()
