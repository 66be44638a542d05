"""The sections of params.yaml as frozen models, each with the bounds of its own values."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

# Without leading zeros: a bucket has one name, which is also the name of its folder.
BUCKET = re.compile(r"(0|[1-9][0-9]{0,2})-([1-9][0-9]{0,2})")

VariantName = Literal["baseline", "sail", "acda", "ours"]
Count = Annotated[int, Field(ge=1)]
# What an interval is drawn over: the bootstrap needs two values.
Several = Annotated[int, Field(ge=2)]
# Sampling steps: each visits its own timestep, of which the networks know this many.
Steps = Annotated[int, Field(ge=1, le=1000)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
# auto: bf16 where the hardware multiplies it, else no.
Precision = Literal["no", "bf16", "auto"]


def distinct(names: list[Any]) -> list[Any]:
    """The list itself; raises ValueError where an entry stands twice."""
    if len(set(names)) != len(names):
        raise ValueError(f"found {names}, expected no entry twice")
    return names


class Section(BaseModel):
    """A part of the file: no unknown keys, no silent conversions, no infinities, no later changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True, allow_inf_nan=False)


class Data(Section):
    """The images: where they come from, side in pixels, images per split (None: all there are), processes."""

    source: Literal["scenes", "coco", "openimages", "folder"]
    path: str | None
    download: bool
    size: Annotated[int, Field(ge=32, multiple_of=32)]
    train: Count | None
    validation: Several
    test: Several
    smallest: Count
    rejects: Share
    shards: bool
    workers: Count

    @model_validator(mode="after")
    def _placed(self) -> Data:
        drawn = self.source == "scenes"
        if drawn and self.path is not None:
            raise ValueError(f"found path {self.path!r} with source scenes, which are drawn, expected null")
        if not drawn and not (self.path or "").strip():
            raise ValueError(f"found path {self.path!r} with source {self.source}, expected the folder of its files")
        written = Path("data") / self.source
        place, target = Path(os.path.abspath(self.path or "")), Path(os.path.abspath(written))
        if not drawn and (place.is_relative_to(target) or target.is_relative_to(place)):
            raise ValueError(f"found path {self.path!r}, expected a folder apart from {written}, which is written anew")
        if drawn and self.train is None:
            raise ValueError("found train null with source scenes, expected how many are drawn")
        if self.download and self.source not in ("coco", "openimages"):
            raise ValueError(f"found download true with source {self.source}, which is nowhere to be fetched from")
        return self


class Prepare(Section):
    """What does the work on images: processes of this machine, or Ray's on several."""

    engine: Literal["local", "ray"]


class Masks(Section):
    """Test masks: hole-share buckets in percent and the two stroke-width sets."""

    buckets: list[str]
    sets: Annotated[list[Literal["wide", "narrow"]], AfterValidator(distinct)]

    @field_validator("buckets")
    @classmethod
    def _buckets(cls, names: list[str]) -> list[str]:
        if not names:
            raise ValueError("expected at least one bucket such as 10-20")
        for name in names:
            match = BUCKET.fullmatch(name)
            if not match or not 0 <= int(match[1]) < int(match[2]) <= 100:
                raise ValueError(f"found {name!r}, expected LOW-HIGH in percent, 0 ≤ LOW < HIGH ≤ 100")
        return distinct(names)


class Canny(Section):
    """Hysteresis thresholds of the edge detector, in units of the Sobel gradient of 8-bit gray values."""

    low: Annotated[int, Field(ge=0, le=1000)]
    high: Annotated[int, Field(ge=0, le=1000)]

    @field_validator("high")
    @classmethod
    def _ordered(cls, high: int, info: ValidationInfo) -> int:
        low = info.data.get("low")
        if low is not None and low >= high:
            raise ValueError(f"found {high}, expected above canny.low ({low})")
        return high


BUNDLED = "assets/foundation"


class Weights(Section):
    """One pretrained network: a Hugging Face id, a folder or a .safetensors file, and the commit of an id."""

    origin: Annotated[str | None, Field(alias="from")]
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None


class Pretrained(Section):
    """The networks that source `pretrained` puts together: a Stable Diffusion 1.x and its two ControlNets."""

    base: Weights
    controlnet_canny: Weights
    controlnet_inpaint: Weights


class Foundation(Section):
    """Where the frozen networks come from; `path` names the folder of source `folder`."""

    source: Literal["bundled", "train", "folder", "pretrained"]
    path: str
    download: bool
    pretrained: Pretrained

    @field_validator("path")
    @classmethod
    def _named(cls, path: str) -> str:
        if not path.strip():
            raise ValueError(f"found {path!r}, expected a folder such as {BUNDLED}")
        return path

    @model_validator(mode="after")
    def _watched(self) -> Foundation:
        if self.source == "bundled" and self.path != BUNDLED:
            raise ValueError(f"found path {self.path!r} with source bundled, expected {BUNDLED}, or source folder")
        if self.source == "pretrained":
            for name, weights in self.pretrained:
                if not (weights.origin or "").strip():
                    found = weights.origin
                    raise ValueError(f"pretrained.{name}.from: found {found!r}, expected an id, a folder or a file")
        return self


class Fit(Section):
    """How long and how fast one component of the embedded foundation is trained."""

    steps: Count
    batch: Count
    lr: Positive


class VaeFit(Fit):
    """The autoencoder's training, on windows of `crop`² pixels."""

    crop: Annotated[int, Field(ge=16, multiple_of=8)]


class Pretrain(Section):
    """The embedded foundation's own training (foundation.source: train)."""

    seed: Annotated[int, Field(ge=0)]
    scenes: Count
    width: Count
    precision: Precision
    vae: VaeFit
    unet: Fit
    teacher: Fit
    inpaint: Fit
    classifier: Fit


class Sail(Section):
    """Structure-aware learning: weight of the soft loss (eq. 12) and the features it compares (eq. 9)."""

    lam: Annotated[float, Field(alias="lambda", ge=0)]
    features: Literal["decoder", "residuals"]


class Acda(Section):
    """Frequency tokens: radius of the high-pass in bins, its shape, what is transformed, learning rate."""

    radius: Annotated[float, Field(ge=0)]
    window: Literal["circle", "square"]
    domain: Literal["image", "latent"]
    amplitude: Literal["linear", "log"]
    lr: Positive


class Train(Section):
    """One fine-tuning run of the inpainting branch."""

    steps: Count
    batch: Count
    micro_batch: Count
    lr: Positive
    warmup: Annotated[int, Field(ge=0)]
    schedule: Literal["constant", "cosine"]
    weight_decay: Annotated[float, Field(ge=0)]
    max_grad_norm: Positive
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    text_dropout: Share
    precision: Precision
    optimiser: Literal["adamw", "adamw_8bit"]
    gradient_checkpointing: bool
    channels_last: bool
    compile: bool
    checkpoint_every: Count
    log_every: Count
    validate_every: Count
    validation_images: Count
    preview_steps: Steps
    preview_guidance: Annotated[float, Field(ge=0)]


class Generate(Section):
    """How test images are inpainted."""

    sampler: Literal["ddim", "dpmsolver++"]
    steps: Steps
    guidance: Annotated[float, Field(ge=0)]
    eta: Share
    precision: Precision
    batch: Count


class Evaluate(Section):
    """How outputs are scored: perceptual distance, bootstrap intervals."""

    batch: Count
    perceptual: Literal["lpips", "lpips_random"]
    resamples: Count
    level: Annotated[float, Field(gt=0, lt=1)]


class Gates(Section):
    """The quality gates: whether a failed one stops the pipeline, and on how many scenes of one item.

    On those it is judged whether samples show what their captions ask for; all other gates look at the held-out
    images of the data themselves.
    """

    enforce: bool
    held_out: Several
    images: Several
    batch: Count
