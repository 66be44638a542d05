"""How the inpainting branch is fine-tuned."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ecdm.sections.base import Count, Positive, Precision, Section, Share, Steps


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


class Launch(Section):
    """The commands that run the stages whose work several processes can share."""

    train: str
    generate: str


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
