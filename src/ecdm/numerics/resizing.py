"""Images and masks at another size, where nothing of a hole reaches what counts as known."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ecdm.numerics.masks import is_hole, masked_image, mean_filled


def resized(images: Tensor, height: int, width: int) -> Tensor:
    """Images (b, c, h, w) at another size, bilinear, with antialiasing where they shrink."""
    if images.shape[-2:] == (height, width):
        return images
    return F.interpolate(images, (height, width), mode="bilinear", antialias=True, align_corners=False)


def resized_known(images: Tensor, masks: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """What is known of images (b, c, h, w) in [0, 1] under masks (b, 1, h, w), and the masks, at size x size pixels.

    A pixel of the result is hole (1) as soon as its area touches a hole's pixel. Any other is the mean over its area;
    where images grow, it is interpolated among known pixels alone (normalised convolution, Knutsson & Westin 1993). The
    hole has the mean colour of what is known.
    """
    hole = is_hole(masks).to(images.dtype)
    mask = F.adaptive_max_pool2d(hole, size)
    mode = "area" if size <= min(images.shape[-2:]) else "bilinear"
    total, weight = (F.interpolate(part, (size, size), mode=mode) for part in (masked_image(images, masks), 1 - hole))
    # A pixel without known ones in reach is hole. Rounding may leave a mean a bit outside of [0, 1].
    average = (total / weight.clamp(min=torch.finfo(weight.dtype).tiny)).clamp(0, 1)
    return mean_filled(average, mask), mask
