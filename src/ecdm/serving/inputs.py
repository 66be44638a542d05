"""Images and masks in the forms that diffusers' pipelines take them, as batches of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ecdm.numerics.masks import is_hole


def image_batch(images: Any) -> Tensor:
    """Images as float32 (b, 3, h, w) in [0, 1].

    Takes PIL images, arrays (h, w, 3) or (h, w) and tensors (3, h, w), uint8 or in [0, 1]; one, a list or a batch.
    Raises: ValueError for another shape, type or range.
    """
    return _stacked([_image(one) for one in _each(images, "image", 3)], "image")


def mask_batch(masks: Any) -> Tensor:
    """Masks as float32 (b, 1, h, w), 1 = hole: bool, gray brighter than half, or more than 0.5.

    Takes PIL images, arrays (h, w) or (h, w, 1) and tensors (1, h, w) or (h, w); one, a list or a batch.
    Raises: ValueError for another shape or type, and for uint8 of 0 and 1 alone, which may mean either.
    """
    return _stacked([_mask(one) for one in _each(masks, "mask_image", 1)], "mask_image")


def _each(given: Any, name: str, channels: int) -> list[Any]:
    """Single images, of so many channels, of what may be one, a list or a batch."""
    if isinstance(given, Tensor):
        return [given] if given.ndim <= 2 or (given.ndim == 3 and given.shape[0] == channels) else list(given)
    if isinstance(given, np.ndarray):
        # Three dimensions: one image, whatever its channels, but a batch of masks, unless it says otherwise.
        single = given.ndim <= 2 or (given.ndim == 3 and (channels == 3 or given.shape[2] == 1))
        return [given] if single else list(given)
    if isinstance(given, Sequence) and given:
        return list(given)
    if isinstance(given, Image.Image):
        return [given]
    raise ValueError(f"{name}: found {type(given).__name__}, expected PIL images, arrays or tensors")


def _stacked(tensors: list[Tensor], name: str) -> Tensor:
    sizes = {tuple(tensor.shape[-2:]) for tensor in tensors}
    if len(sizes) > 1:
        found = ", ".join(f"{w}x{h}" for h, w in sorted(sizes))
        raise ValueError(f"{name}: found sizes {found} px in one batch, expected a single one")
    return torch.stack(tensors)


def _known_type(tensor: Tensor, name: str) -> Tensor:
    if tensor.dtype not in (torch.bool, torch.uint8) and not tensor.is_floating_point():
        raise ValueError(f"{name}: found {tensor.dtype}, expected uint8, bool or floating point")
    return tensor


def _image(image: Any) -> Tensor:
    if isinstance(image, Image.Image):
        image = np.asarray(image.convert("RGB"))
    if isinstance(image, np.ndarray):
        image = torch.from_numpy(np.ascontiguousarray(_three(image).transpose(2, 0, 1)))
    if not isinstance(image, Tensor) or image.ndim != 3 or image.shape[0] != 3:
        shape = tuple(getattr(image, "shape", ()))
        raise ValueError(f"image: found {type(image).__name__} {shape}, expected three channels")
    pixels = _known_type(image, "image").float()
    pixels = pixels / 255 if image.dtype == torch.uint8 else pixels
    if not bool(((pixels >= 0) & (pixels <= 1)).all()):
        raise ValueError("image: found values outside [0, 1] or not finite, expected uint8 or [0, 1]")
    return pixels


def _three(pixels: NDArray[Any]) -> NDArray[Any]:
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"image: found an array {pixels.shape}, expected (h, w, 3) or (h, w)")
    return pixels


def _mask(mask: Any) -> Tensor:
    gray = isinstance(mask, Image.Image)
    found = torch.from_numpy(np.array(mask.convert("L") if gray else mask)) if not isinstance(mask, Tensor) else mask
    if found.ndim == 3 and 1 in (found.shape[0], found.shape[-1]):
        found = found.squeeze(0 if found.shape[0] == 1 else -1)
    if found.ndim != 2:
        raise ValueError(f"mask_image: found {tuple(found.shape)}, expected (h, w) or (1, h, w)")
    if _known_type(found, "mask_image").dtype == torch.uint8:
        if not gray and int(found.max()) == 1:
            raise ValueError("mask_image: found uint8 values of 0 and 1, expected bool, or 0 to 255")
        return (found >= 128).float()[None]
    return is_hole(found).float()[None]
