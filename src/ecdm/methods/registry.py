"""The published methods by name: what each is made of, and one that lacks its networks refused by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, get_args

from torch import nn

from ecdm.methods.base import Method
from ecdm.models.foundation import Components
from ecdm.sections.base import Precision
from ecdm.sections.compare import MethodName

METHODS: tuple[str, ...] = get_args(MethodName)


@dataclass(frozen=True)
class Ingredients:
    """What a method is made of: the foundation, the folder of the other networks, its own settings, precision."""

    components: Components
    networks: Path
    # The section of the method in params.yaml.
    settings: Any
    precision: Precision


class Rival(Method, Protocol):
    """A published method, with what a table says of it."""

    @property
    def native_size(self) -> int | None:
        """Side of the images its networks make, pixels, where that is not the input's own size."""
        ...

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The networks it evaluates, by the names under which their evaluations are counted."""
        ...


def make_method(name: str, parts: Ingredients) -> Rival:
    """A published method, ready to inpaint where the foundation's networks are.

    Raises: ValueError for an unknown name, listing the known ones; what loading its networks raises, the method
    named first.
    """
    if name not in METHODS:
        raise ValueError(f"method: found {name!r}, expected one of {', '.join(METHODS)}")
    # One file per method, each read only where it runs.
    make: Callable[[Ingredients], Rival] = import_module(f"ecdm.methods.{name}").make
    try:
        return make(parts)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from error
