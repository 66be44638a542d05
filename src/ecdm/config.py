"""params.yaml as frozen, validated models; the only configuration there is."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ecdm.sections.base import Count, Section, VariantName, distinct
from ecdm.sections.compare import NEEDS, Compare, Networks
from ecdm.sections.data import Canny, Data, Masks, Prepare
from ecdm.sections.foundation import Fit, Foundation, Pretrain, Pretrained, VaeFit, Weights
from ecdm.sections.judging import Evaluate, Gates, Generate
from ecdm.sections.training import Acda, Launch, Sail, Train

__all__ = [
    "Acda",
    "Canny",
    "Compare",
    "Data",
    "Evaluate",
    "Fit",
    "Foundation",
    "Gates",
    "Generate",
    "Masks",
    "Networks",
    "Params",
    "Prepare",
    "Pretrain",
    "Pretrained",
    "Sail",
    "Train",
    "VaeFit",
    "VariantSettings",
    "Weights",
    "load_params",
    "load_variant",
    "read_yaml",
    "validated",
    "variant_settings",
    "yaml_text",
]

PARAMS = Path("params.yaml")
Model = TypeVar("Model", bound=Section)
Parsed = TypeVar("Parsed")


class Params(Section):
    """The whole file."""

    seed: Annotated[int, Field(ge=0)]
    threads: Count
    deterministic: bool
    tf32: bool
    launch: Launch
    seeds: list[Annotated[int, Field(ge=0)]]
    variants: list[VariantName]
    data: Data
    prepare: Prepare
    masks: Masks
    canny: Canny
    foundation: Foundation
    pretrain: Pretrain
    sail: Sail
    acda: Acda
    train: Train
    generate: Generate
    evaluate: Evaluate
    networks: Networks
    compare: Compare
    gates: Gates
    # The search reads its own section: what it says concerns no stage of the pipeline.
    tune: dict[str, Any]

    @field_validator("variants", "seeds")
    @classmethod
    def _listed(cls, names: list[Any]) -> list[Any]:
        if not names:
            raise ValueError("found an empty list, expected at least one entry")
        return distinct(names)

    @model_validator(mode="after")
    def _pairs(self) -> Params:
        side = self.data.size if self.acda.domain == "image" else self.data.size // 8
        if self.acda.radius >= side // 2:
            raise ValueError(
                f"acda.radius: found {self.acda.radius}, expected below {side // 2}, "
                f"the last frequency of {side} samples (acda.domain: {self.acda.domain})"
            )
        crop, sampler, eta = self.pretrain.vae.crop, self.generate.sampler, self.generate.eta
        if self.foundation.source == "train" and crop > self.data.size:
            raise ValueError(f"pretrain.vae.crop: found {crop}, expected at most data.size, {self.data.size}")
        if sampler != "ddim" and eta:
            raise ValueError(f"generate.eta: found {eta}, expected 0 (generate.sampler: {sampler})")
        return self

    @model_validator(mode="after")
    def _comparable(self) -> Params:
        for name in self.compare.methods:
            for network in NEEDS[name]:
                if network not in self.networks.names:
                    raise ValueError(
                        f"networks.names: found {self.networks.names}, expected {network} among them, "
                        f"which method {name} needs (compare.methods)"
                    )
        own = self.compare.variant.name
        if own not in self.variants:
            raise ValueError(f"compare.variant.name: found {own}, expected one of variants, {self.variants}")
        return self


class VariantSettings(Section):
    """What one variant of the ablation really uses; None where the part is switched off."""

    name: VariantName
    sail: Sail | None
    acda: Acda | None


def _message(path: Path, error: ValidationError, section: tuple[str, ...]) -> str:
    """The first problem as `file: key: found …, expected …`; unknown keys come before missing ones."""
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    first = problems[0]
    key = ".".join(str(part) for part in (*section, *first["loc"]))
    if first["type"] == "extra_forbidden":
        missing = [".".join(map(str, (*section, *p["loc"]))) for p in problems if p["type"] == "missing"]
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


def yaml_text(path: Path, parse: Callable[[str], Parsed]) -> Parsed:
    """What `parse` makes of the text of a YAML file.

    Raises: FileNotFoundError without the file; ValueError naming it, and the line, where it is not YAML.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid YAML: {_yaml_problem(error)}") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping, read as DVC reads it (YAML 1.2); raises like `yaml_text`, and for other content."""
    content = yaml_text(path, YAML(typ="safe").load)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: found {type(content).__name__}, expected a mapping")
    return content


def _read(path: Path, model: type[Model]) -> Model:
    return validated(read_yaml(path), path, model)


def validated(content: Mapping[str, Any], path: Path, model: type[Model], *section: str) -> Model:
    """The content of a file, or of its `section`, as a model; raises ValueError naming file and key."""
    try:
        # By alias alone: the pipeline watches the keys as they stand in the file, such as sail.lambda.
        return model.model_validate(content, by_alias=True, by_name=False)
    except ValidationError as error:
        raise ValueError(_message(path, error, section)) from error


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
