"""The moving average of trained weights, which is what a run keeps; switched off, it takes no memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from diffusers.training_utils import EMAModel
from torch import Tensor, nn


class Average:
    """Exponential moving average of `parameters` with at most `decay`; 0 keeps none, the weights stand for it."""

    def __init__(self, parameters: list[nn.Parameter], decay: float) -> None:
        self.parameters = parameters
        self._model = EMAModel(parameters, decay=decay, use_ema_warmup=True, power=2 / 3) if decay else None

    @property
    def values(self) -> list[Tensor]:
        """The averages, one per parameter, or none."""
        return self._model.shadow_params if self._model else []

    def resume(self, step: int) -> None:
        """Go on after so many steps."""
        if self._model:
            self._model.optimization_step = step

    def step(self) -> None:
        """Take in the parameters as they are."""
        if self._model:
            self._model.step(self.parameters)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Within the block the parameters have their averages for values."""
        if self._model is None:
            yield
            return
        self._model.store(self.parameters)
        self._model.copy_to(self.parameters)
        try:
            yield
        finally:
            self._model.restore(self.parameters)

    def settle(self) -> None:
        """Give the parameters their averages for good."""
        if self._model:
            self._model.copy_to(self.parameters)
