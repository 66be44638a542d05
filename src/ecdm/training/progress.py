"""A progress bar for the foundation's training, one component after the other."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from tqdm import tqdm


class Progress:
    """Shows the component at work, its step and a smoothed loss."""

    def __init__(self) -> None:
        self.name = ""
        self.bar: Any = None
        self.smooth: float | None = None

    def report(self, name: str, step: int, values: dict[str, float]) -> None:
        """Take one step's values; a new name opens a new bar."""
        if name != self.name:
            self.__exit__(None, None, None)
            self.name, self.bar, self.smooth = name, tqdm(desc=name, unit="step", disable=None), None
        loss = values["loss"]
        self.smooth = loss if self.smooth is None else 0.98 * self.smooth + 0.02 * loss
        self.bar.set_postfix(loss=f"{self.smooth:.4f}", refresh=False)
        self.bar.update()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()
