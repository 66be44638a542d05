"""The moving average of trained weights, which is what a run keeps; switched off, it takes no memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from ecdm.models.branch import Branch
from ecdm.training.fsdp import Twin


class Average:
    """Exponential moving average of a branch's weights with at most `decay`; 0 keeps none, the weights stand for it.

    `twin` stands for a branch in parts where it is needed as a whole: all processes have to ask then, each time.
    """

    def __init__(self, branch: Branch, decay: float, twin: Twin | None = None) -> None:
        self.branch, self.twin = branch, twin
        self.parameters: list[nn.Parameter] = [p for p in branch.parameters() if p.requires_grad]
        self._model = EMAModel(self.parameters, decay=decay, use_ema_warmup=True, power=2 / 3) if decay else None

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
    def shown(self) -> Iterator[Branch]:
        """The branch, which within the block has the averages for weights."""
        if self.twin is not None:
            device = self.parameters[0].device
            yield self._gathered(self.twin).to(device)
            self.twin.branch.cpu()
            return
        if self._model is None:
            yield self.branch
            return
        self._model.store(self.parameters)
        self._model.copy_to(self.parameters)
        try:
            yield self.branch
        finally:
            self._model.restore(self.parameters)

    def settled(self) -> Branch:
        """The branch with the averages for good."""
        if self.twin is not None:
            return self._gathered(self.twin).to(self.parameters[0].device)
        if self._model:
            self._model.copy_to(self.parameters)
        return self.branch

    def _gathered(self, twin: Twin) -> Branch:
        return twin.filled(self.values or self.parameters)
