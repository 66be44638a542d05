"""The figures of a search: which of them its trials allow, and what to read from each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ecdm.search.findings import Findings


@dataclass(frozen=True)
class Caption:
    """A figure by name, with its title and what a reader finds in it."""

    name: str
    title: str
    read: str
    drawable: Callable[[Findings], bool]

    @property
    def file(self) -> str:
        """The picture's file."""
        return f"{self.name}.png"


_ALL = (
    Caption(
        "landscape",
        "Landscape",
        "Each dot is a trial. Are the best ones together, and how far from the paper's values?",
        lambda found: bool(found.numeric and found.complete),
    ),
    Caption(
        "pareto",
        "Pareto front",
        "Trials on the front are beaten by none in all objectives at once; choose among these.",
        lambda found: bool(found.several and found.complete),
    ),
    Caption(
        "history",
        "History",
        "Does the line still climb at the end, or would more trials find little? Steps within the band may be noise.",
        lambda found: bool(found.complete and not found.several),
    ),
    Caption(
        "slices",
        "One parameter at a time",
        "A parameter that matters shows a slope or a peak wider than the band of noise.",
        lambda found: bool(found.complete),
    ),
    Caption(
        "importances",
        "Importances",
        "Share of each parameter in whether a trial is among the best tenth.",
        lambda found: bool(found.importances),
    ),
    Caption(
        "parallel",
        "All parameters together",
        "Each line is a trial. Where the good lines bundle, that value matters.",
        lambda found: len(found.complete) > 1,
    ),
    Caption(
        "intermediate",
        "During training",
        "Did pruning end the right trials, and do the curves still rise at the end?",
        lambda found: not found.several and any(trial.intermediate_values for trial in found.results),
    ),
)
CAPTIONS = {caption.name: caption for caption in _ALL}


def drawable(found: Findings) -> list[Caption]:
    """The figures that can be drawn; one that has too little to show is left out."""
    return [caption for caption in _ALL if caption.drawable(found)]
