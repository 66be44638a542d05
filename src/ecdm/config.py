"""params.yaml as frozen, validated models; the only configuration there is."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

PARAMS = Path("params.yaml")
VARIANTS = ("baseline", "sail", "acda", "ours")
# Without leading zeros: a bucket has one name, which is also the name of its folder.
BUCKET = re.compile(r"(0|[1-9][0-9]{0,2})-([1-9][0-9]{0,2})")

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Precision = Literal["no", "bf16"]
Model = TypeVar("Model", bound="Section")


def _distinct(names: list[Any]) -> list[Any]:
    if len(set(names)) != len(names):
        raise ValueError(f"found {names}, expected no entry twice")
    return names


class Section(BaseModel):
    """A part of the file: no unknown keys, no silent conversions, no infinities, no later changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True, allow_inf_nan=False)


class Data(Section):
    """The images: source, side in pixels, images per split, processes that write them."""

    source: Literal["scenes"]
    size: Annotated[int, Field(ge=32, multiple_of=32)]
    train: Count
    validation: Count
    test: Count
    workers: Count


class Masks(Section):
    """Test masks: hole-share buckets in percent and the two stroke-width sets."""

    buckets: list[str]
    sets: Annotated[list[Literal["wide", "narrow"]], AfterValidator(_distinct)]

    @field_validator("buckets")
    @classmethod
    def _buckets(cls, names: list[str]) -> list[str]:
        if not names:
            raise ValueError("expected at least one bucket such as 10-20")
        for name in names:
            match = BUCKET.fullmatch(name)
            if not match or not 0 <= int(match[1]) < int(match[2]) <= 100:
                raise ValueError(f"found {name!r}, expected LOW-HIGH in percent, 0 ≤ LOW < HIGH ≤ 100")
        return _distinct(names)


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


class Foundation(Section):
    """Where the frozen networks come from; `path` is read for source `folder` only."""

    source: Literal["bundled", "train", "folder"]
    path: str


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

    seed: int
    scenes: Count
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
    """Frequency tokens: high-pass radius in bins, its shape, domain of the transform, own learning rate."""

    radius: Annotated[float, Field(ge=0)]
    window: Literal["circle", "square"]
    domain: Literal["image", "latent"]
    lr: Positive


class Train(Section):
    """One fine-tuning run of the inpainting branch."""

    steps: Count
    batch: Count
    accumulation: Count
    lr: Positive
    warmup: Annotated[int, Field(ge=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    max_grad_norm: Positive
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    text_dropout: Share
    precision: Precision
    checkpoint_every: Count
    log_every: Count
    validate_every: Count
    validation_images: Count
    preview_steps: Count
    preview_guidance: Annotated[float, Field(ge=0)]


class Generate(Section):
    """How test images are inpainted."""

    sampler: Literal["ddim", "dpmsolver++"]
    steps: Count
    guidance: Annotated[float, Field(ge=0)]
    eta: Share
    batch: Count


class Evaluate(Section):
    """How outputs are scored: perceptual distance, bootstrap intervals."""

    batch: Count
    perceptual: Literal["lpips", "lpips_random"]
    resamples: Count
    level: Annotated[float, Field(gt=0, lt=1)]


class Gates(Section):
    """The quality gates: whether a failed one stops the pipeline, and how many images they look at."""

    enforce: bool
    images: Count
    batch: Count


class Params(Section):
    """The whole file."""

    seed: Annotated[int, Field(ge=0)]
    seeds: list[Annotated[int, Field(ge=0)]]
    variants: list[Literal["baseline", "sail", "acda", "ours"]]
    data: Data
    masks: Masks
    canny: Canny
    foundation: Foundation
    pretrain: Pretrain
    sail: Sail
    acda: Acda
    train: Train
    generate: Generate
    evaluate: Evaluate
    gates: Gates

    @field_validator("variants", "seeds")
    @classmethod
    def _listed(cls, names: list[Any]) -> list[Any]:
        if not names:
            raise ValueError("found an empty list, expected at least one entry")
        return _distinct(names)

    @model_validator(mode="after")
    def _pairs(self) -> Params:
        side = self.data.size if self.acda.domain == "image" else self.data.size // 8
        if self.acda.radius >= side // 2:
            raise ValueError(
                f"acda.radius: found {self.acda.radius}, expected below {side // 2}, "
                f"the last frequency of {side} samples (acda.domain: {self.acda.domain})"
            )
        if self.foundation.source == "folder" and not self.foundation.path:
            raise ValueError("foundation.path: found nothing, expected a folder (foundation.source: folder)")
        crop, sampler, eta = self.pretrain.vae.crop, self.generate.sampler, self.generate.eta
        if self.foundation.source == "train" and crop > self.data.size:
            raise ValueError(f"pretrain.vae.crop: found {crop}, expected at most data.size, {self.data.size}")
        if sampler != "ddim" and eta:
            raise ValueError(f"generate.eta: found {eta}, expected 0 (generate.sampler: {sampler})")
        return self


class VariantSettings(Section):
    """What one variant of the ablation really uses; None where the part is switched off."""

    name: Literal["baseline", "sail", "acda", "ours"]
    sail: Sail | None
    acda: Acda | None


def _message(path: Path, error: ValidationError) -> str:
    """The first problem as `file: key: found …, expected …`; unknown keys come before missing ones."""
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    first = problems[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        missing = [".".join(map(str, p["loc"])) for p in problems if p["type"] == "missing"]
        return f"{path}: {key}: unknown key" + (f"; missing: {', '.join(missing)}" if missing else "")
    if first["type"] == "missing":
        return f"{path}: {key}: missing key"
    text = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if first["type"] == "value_error":
        return f"{path}: {key}: {text}" if key else f"{path}: {text}"
    return f"{path}: {key}: found {first['input']!r}, expected {text}"


def _yaml_problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    text = str(getattr(error, "problem", None) or error).splitlines()[0]
    return f"line {mark.line + 1}: {text}" if mark else text


def _read(path: Path, model: type[Model]) -> Model:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid YAML: {_yaml_problem(error)}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: found {type(content).__name__}, expected a mapping of parameters")
    try:
        # By alias alone: the pipeline watches the keys as they stand in the file, such as sail.lambda.
        return model.model_validate(content, by_alias=True, by_name=False)
    except ValidationError as error:
        raise ValueError(_message(path, error)) from error


def load_params(path: Path = PARAMS) -> Params:
    """Read and validate params.yaml.

    Raises: FileNotFoundError without the file; ValueError that names the first key at fault, what was found
    and what was expected.
    """
    return _read(path, Params)


def load_variant(path: Path) -> VariantSettings:
    """Read one variant's settings as `variant_settings` wrote them; raises like `load_params`."""
    return _read(path, VariantSettings)


def variant_settings(name: str, sail: Sail, acda: Acda, uses_sail: bool, uses_acda: bool) -> str:
    """One variant's settings as YAML text; a part it does not use is null, so its values cannot matter."""
    used = {"sail": sail if uses_sail else None, "acda": acda if uses_acda else None}
    plain = {part: values.model_dump(by_alias=True) if values else None for part, values in used.items()}
    text = io.StringIO()
    YAML().dump({"name": name, **plain}, text)
    return text.getvalue()
