"""Asymmetric cross domain attention: text and high-frequency tokens attended side by side (eq. 10, 11)."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ecdm.numerics.frequency import frequency_features

CONFIG, WEIGHTS = "config.json", "model.safetensors"
# Initial weight of the phase beside the amplitude's: in most bins the phase is noise.
PHASE = 0.3
# Keeps the mean square of normal inputs through a convolution and SiLU: 1 / sqrt(E[silu(x)^2]), x standard normal.
SILU_GAIN = 1.677


@dataclass(frozen=True)
class AcdaConfig:
    """What the module is built from; `channels` of the transformed signal, `width` of a token."""

    radius: float
    window: str
    domain: str
    amplitude: str
    channels: int
    width: int
    downsamplings: int


class FrequencyEncoder(nn.Module):
    """Amplitude and phase (b, 2c, h, w) in [−1, 1] → tokens (b, h·w / 4ⁿ, width) by n stride-2 convolutions.

    The last convolution starts at zero, so that the second attention term does too. The others start at the scale that
    keeps a signal's size through SiLU, so that what differs between images survives the layers, and without a bias,
    so that an empty spectrum (amplitude −1, phase 0) gives nothing.
    """

    def __init__(self, channels: int, width: int, downsamplings: int) -> None:
        super().__init__()
        sizes = [min(32 * 2**i, width) for i in range(downsamplings)]
        layers: list[nn.Module] = [nn.Conv2d(2 * channels, sizes[0], 3, padding=1), nn.SiLU()]
        for before, after in zip(sizes, [*sizes[1:], width], strict=True):
            layers += [nn.Conv2d(before, after, 3, padding=1, stride=2), nn.SiLU()]
        self.body = nn.Sequential(*layers)
        for layer in self.body:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
                layer.weight.data *= SILU_GAIN
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            self.body[0].weight[:, channels:] *= PHASE  # type: ignore[operator, index]
        self.last = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        amplitude, phase = features.chunk(2, dim=1)
        tokens: Tensor = self.last(self.body(torch.cat([amplitude + 1, phase], dim=1)))
        return tokens.flatten(2).transpose(1, 2)


class IgnoreFrequency(AttnProcessor2_0):
    """Plain attention for layers without the second term, silent about the tokens that blocks hand to all."""

    def __call__(self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None,
                 attention_mask: Tensor | None = None, temb: Tensor | None = None,
                 frequency_tokens: Tensor | None = None) -> Tensor:  # fmt: skip
        return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, temb)


class AcdaProcessor:
    """Eq. 10: softmax(q kᵀ/√d) v + softmax(q k'ᵀ/√d) v', with q' = q, k' and v' from the frequency tokens.

    Tokens (b', n, width) may be fewer than the queries' batch by a whole factor (the two guidance halves share
    them). Outside autograd k' and v' are kept for as long as the same tokens come in. With `record` set, `rms`
    holds the root mean square of the two terms of the last call.
    """

    def __init__(self, to_k: nn.Linear, to_v: nn.Linear) -> None:
        self.to_k, self.to_v = to_k, to_v
        self.record = False
        self.rms = (0.0, 0.0)
        self._kept: tuple[Tensor, Tensor, Tensor] | None = None

    def _project(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        if torch.is_grad_enabled():
            self._kept = None
            return self.to_k(tokens), self.to_v(tokens)
        if self._kept is None or self._kept[0] is not tokens:
            self._kept = (tokens, self.to_k(tokens), self.to_v(tokens))
        return self._kept[1], self._kept[2]

    def __call__(self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor,
                 attention_mask: Tensor | None = None, temb: Tensor | None = None,
                 frequency_tokens: Tensor | None = None) -> Tensor:  # fmt: skip
        if frequency_tokens is None:
            raise ValueError("ACDA: found no frequency tokens, expected a tensor (b, n, width)")
        batch = len(hidden_states)

        def heads(x: Tensor) -> Tensor:
            x = x.repeat(batch // len(x), 1, 1)
            return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        q = heads(attn.to_q(hidden_states))
        k2, v2 = (heads(x) for x in self._project(frequency_tokens))
        k, v = heads(attn.to_k(encoder_hidden_states)), heads(attn.to_v(encoder_hidden_states))
        text = F.scaled_dot_product_attention(q, k, v)
        frequency = F.scaled_dot_product_attention(q, k2, v2)
        if self.record:
            self.rms = (_rms(text), _rms(frequency))
        mixed = (text + frequency).transpose(1, 2).flatten(2)
        output: Tensor = attn.to_out[1](attn.to_out[0](mixed))
        return output


class Acda(nn.Module):
    """All parameters that ACDA adds to a branch: the frequency encoder and k', v' of each input-block layer.

    k' and v' start as copies of the text's k and v, as adapters with decoupled attention do (IP-Adapter).
    """

    def __init__(self, config: AcdaConfig, branch: ControlNetModel) -> None:
        super().__init__()
        self.config = config
        self.encoder = FrequencyEncoder(config.channels, config.width, config.downsamplings)
        layers = _cross_attentions(branch)
        self.to_k = nn.ModuleList([copy.deepcopy(a.to_k) for a in layers.values()])
        self.to_v = nn.ModuleList([copy.deepcopy(a.to_v) for a in layers.values()])

    def attach(self, branch: ControlNetModel) -> list[AcdaProcessor]:
        """Put the processors into the branch; its own state dict stays that of a plain ControlNet."""
        processors: dict[str, Any] = {name: IgnoreFrequency() for name in branch.attn_processors}
        mine = [AcdaProcessor(k, v) for k, v in zip(self.to_k, self.to_v, strict=True)]  # type: ignore[arg-type]
        processors |= dict(zip(_cross_attentions(branch), mine, strict=True))
        branch.set_attn_processor(processors)
        return mine

    def tokens(self, signal: Tensor) -> Tensor:
        """Frequency tokens (b, n, width) of the masked signal (b, channels, h, w), its hole filled with 0."""
        features = frequency_features(signal, self.config.radius, self.config.window, self.config.amplitude)
        output: Tensor = self.encoder(features)
        return output

    def save(self, folder: Path) -> None:
        """Write config and safetensors weights."""
        folder.mkdir(parents=True)
        (folder / CONFIG).write_text(json.dumps(asdict(self.config), indent=2) + "\n", encoding="utf-8")
        save_file({k: v.contiguous() for k, v in self.state_dict().items()}, folder / WEIGHTS)

    @classmethod
    def load(cls, folder: Path, branch: ControlNetModel) -> Acda:
        """Read what `save` wrote.

        Raises: FileNotFoundError when a file is missing: a branch trained with ACDA is another model without it;
        ValueError naming weights that cannot be read or do not fit.
        """
        for name in (CONFIG, WEIGHTS):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"{folder / name}: missing; the branch was trained with ACDA and needs it")
        try:
            config = AcdaConfig(**json.loads((folder / CONFIG).read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{folder / CONFIG}: cannot be read as ACDA's settings: {error}") from error
        module = cls(config, branch)
        try:
            module.load_state_dict(load_file(folder / WEIGHTS))
        except (SafetensorError, RuntimeError) as error:
            raise ValueError(f"{folder / WEIGHTS}: cannot be read as ACDA's weights: {error}") from error
        return module


def _cross_attentions(branch: ControlNetModel) -> dict[str, Attention]:
    """Processor name → cross attention of the trainable input blocks, the middle left out."""
    return {
        f"{name}.processor": module
        for name, module in branch.named_modules()
        if isinstance(module, Attention) and name.startswith("down_blocks.") and name.endswith("attn2")
    }


def _rms(x: Tensor) -> float:
    return float(x.detach().float().square().mean().sqrt())
