"""A frozen diffusers UNet in two halves, so that one encoder pass serves several decoder passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from diffusers import UNet2DConditionModel
from torch import Tensor, nn


@dataclass(frozen=True)
class Residuals:
    """What a control branch adds: one tensor per skip connection, and one to the middle block's output."""

    down: tuple[Tensor, ...]
    middle: Tensor

    @property
    def all(self) -> tuple[Tensor, ...]:
        """The zero convolutions' outputs, 13 for Stable Diffusion 1.5."""
        return (*self.down, self.middle)


@dataclass(frozen=True)
class Encoded:
    """The encoder's outputs: time embedding, text, skip connections and the middle block's output."""

    time: Tensor
    text: Tensor
    skips: tuple[Tensor, ...]
    middle: Tensor


class SplitUNet:
    """`encode` then `decode` equals `UNet2DConditionModel.forward` with additional residuals."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        self.unet = unet

    def encode(self, z: Tensor, t: Tensor, text: Tensor) -> Encoded:
        """Latents (b, c, h, w), time steps (b,) and text (b, n, width) → skips and middle; no residual enters."""
        unet = self.unet
        time = unet.time_embedding(unet.get_time_embed(sample=z, timestep=t))
        hidden = unet.conv_in(z)
        skips = [hidden]
        for block in unet.down_blocks:
            hidden, outputs = block(hidden, time, **_text(block, text))
            skips.extend(outputs)
        hidden = unet.mid_block(hidden, time, **_text(unet.mid_block, text))
        return Encoded(time, text, tuple(skips), hidden)

    def decode(self, encoded: Encoded, residuals: Residuals | None = None) -> tuple[Tensor, list[Tensor]]:
        """Model output (b, c, h, w) and the decoder features of eq. 9.

        One feature per decoder ResNet with its attention; a block's last one is taken after the upsampler.
        """
        unet, hidden, skips = self.unet, encoded.middle, list(encoded.skips)
        if residuals is not None:
            hidden = hidden + residuals.middle
            skips = [skip + extra for skip, extra in zip(skips, residuals.down, strict=True)]
        with _outputs_of(feature_modules(unet)) as features:
            for block in unet.up_blocks:
                count = len(block.resnets)
                taken, skips = tuple(skips[-count:]), skips[:-count]
                size = skips[-1].shape[2:] if skips else None
                hidden = block(hidden, taken, encoded.time, upsample_size=size, **_text(block, encoded.text))
        hidden = unet.conv_act(unet.conv_norm_out(hidden))
        return unet.conv_out(hidden), features


def _text(block: nn.Module, text: Tensor) -> dict[str, Tensor]:
    return {"encoder_hidden_states": text} if getattr(block, "has_cross_attention", False) else {}


def feature_modules(unet: UNet2DConditionModel) -> list[nn.Module]:
    """The modules whose outputs are the decoder features, in the order of their calls."""
    modules: list[nn.Module] = []
    for block in unet.up_blocks:
        layers = list(block.attentions if getattr(block, "has_cross_attention", False) else block.resnets)
        if block.upsamplers:
            layers[-1] = block.upsamplers[0]
        modules += layers
    return modules


@contextmanager
def _outputs_of(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Collect the modules' outputs in the order of their calls."""
    collected: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        collected.append(output[0] if isinstance(output, tuple) else output)

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        yield collected
    finally:
        for handle in handles:
            handle.remove()
