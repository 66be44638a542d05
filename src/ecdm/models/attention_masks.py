"""Attention in which known places see nothing of the hole, nor of what the text asks for in it (Uni-paint)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor
from torch.nn import functional as F

from ecdm.numerics.masks import is_hole


class MaskedAttention:
    """Attention whose weights are cut after the softmax and not normalised anew (Yang et al. 2023).

    `holes`: number of queries → how much each of them is hole (n,), in [0, 1]. Between queries q and keys k of an image
    the weight is multiplied by 1 − (1 − hole_q) hole_k; on a text by hole_q, except for its first token.
    """

    def __init__(self, holes: Mapping[int, Tensor]) -> None:
        self.holes = holes

    def __call__(self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None,
                 attention_mask: Tensor | None = None, temb: Tensor | None = None) -> Tensor:  # fmt: skip
        hole = self.holes[hidden_states.shape[1]]
        attended = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (
            attn.head_to_batch_dim(x) for x in (attn.to_q(hidden_states), attn.to_k(attended), attn.to_v(attended))
        )
        if encoder_hidden_states is None:
            kept = 1 - (1 - hole)[:, None] * hole
        else:
            kept = hole[:, None].repeat(1, attended.shape[1])
            kept[:, 0] = 1
        weights = attn.get_attention_scores(q, k) * kept.to(q.dtype)
        output: Tensor = attn.to_out[1](attn.to_out[0](attn.batch_to_head_dim(torch.bmm(weights, v))))
        return output


@contextmanager
def masked_attention(unet: UNet2DConditionModel, mask: Tensor, factor: int) -> Iterator[None]:
    """All attention of a UNet masked, until the end of the context, for one image's mask (1, 1, h, w), 1 = hole.

    `factor`: pixels per latent cell, a side. The mask is interpolated bilinearly to the size of each level.
    """
    before = unet.attn_processors
    masked = MaskedAttention(_holes(mask, factor, len(unet.down_blocks)))
    unet.set_attn_processor(dict.fromkeys(before, masked))
    try:
        yield
    finally:
        unet.set_attn_processor(dict(before))


def _holes(mask: Tensor, factor: int, levels: int) -> dict[int, Tensor]:
    height, width = (side // factor for side in mask.shape[-2:])
    found: dict[int, Tensor] = {}
    for _ in range(levels):
        found[height * width] = F.interpolate(is_hole(mask).float(), (height, width), mode="bilinear").flatten()
        # As the UNet's convolutions of stride 2 halve an odd side.
        height, width = (height + 1) // 2, (width + 1) // 2
    return found
