"""Where images come from, and what is drawn for them: masks and edges."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from ecdm.sections.base import Count, Section, Several, Share, distinct

# Without leading zeros: a bucket has one name, which is also the name of its folder.
BUCKET = re.compile(r"(0|[1-9][0-9]{0,2})-([1-9][0-9]{0,2})")


def _placed(source: str, path: str | None, download: bool, drawn: str) -> None:
    """Raise ValueError where a source and the place of its files do not go together; source `drawn` has none."""
    if source == drawn and path is not None:
        raise ValueError(f"found path {path!r} with source {source}, which are drawn, expected null")
    if source != drawn and not (path or "").strip():
        raise ValueError(f"found path {path!r} with source {source}, expected the folder of its files")
    written = Path("data") / source
    place, target = Path(os.path.abspath(path or "")), Path(os.path.abspath(written))
    if source != drawn and (place.is_relative_to(target) or target.is_relative_to(place)):
        raise ValueError(f"found path {path!r}, expected a folder apart from {written}, which is written anew")
    if download and source not in ("coco", "openimages"):
        raise ValueError(f"found download true with source {source}, which is nowhere to be fetched from")


class Second(Section):
    """A second data set that nothing is trained on: the test images of another source."""

    source: Literal["shifted", "coco", "openimages", "folder"]
    path: str | None
    download: bool
    test: Several

    @model_validator(mode="after")
    def _placed(self) -> Second:
        _placed(self.source, self.path, self.download, "shifted")
        return self


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
    second: Second

    @model_validator(mode="after")
    def _whole(self) -> Data:
        _placed(self.source, self.path, self.download, "scenes")
        if self.source == "scenes" and self.train is None:
            raise ValueError("found train null with source scenes, expected how many are drawn")
        if self.second.source == self.source:
            raise ValueError(f"second.source: found {self.source}, expected another than data.source")
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
