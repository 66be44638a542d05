"""What all sections share: their base class and the types of their values."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

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
