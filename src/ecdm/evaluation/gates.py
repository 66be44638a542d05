"""The quality gates: bounds that data, foundation and trained variants have to hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ecdm.data.scores import LOWER_IS_BETTER
from ecdm.models.classifier import ATTRIBUTES
from ecdm.numerics.statistics import Interval, bootstrap, paired_bootstrap

SPECTRAL_SHARE, VAE_PSNR, FREQUENCY_RATIO, RETRIEVAL = 0.5, 27.0, 0.1, 0.5


@dataclass(frozen=True)
class Gate:
    """One bound: `value` must be at least `bound`, or, for a difference, its interval must lie above it."""

    value: float
    bound: float
    interval: tuple[float, float] | None
    holds: bool
    note: str


@dataclass(frozen=True)
class Judge:
    """Turns measured values into gates; the bootstrap draws from `seed`, resampled `resamples` times."""

    seed: int
    resamples: int
    level: float

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def at_least(self, values: Sequence[float], bound: float, note: str) -> Gate:
        """The mean must reach the bound."""
        found = bootstrap(values, self._rng(), self.resamples, self.level)
        return _gate(found, bound, found.mean >= bound, note)

    def above(self, better: Sequence[float], worse: Sequence[float], note: str) -> Gate:
        """The mean paired difference must be positive, its interval apart from 0."""
        found = paired_bootstrap(better, worse, self._rng(), self.resamples, self.level)
        return _gate(found, 0.0, found.low > 0, note)

    def data(self, shares: Sequence[float]) -> dict[str, Gate]:
        """The scenes are not too easy."""
        note = "share of spectral power above radius 4, scenes"
        return {"scenes.spectral_share": self.at_least(shares, SPECTRAL_SHARE, note)}

    def vae(self, psnr: Mapping[str, Sequence[float]]) -> dict[str, Gate]:
        """The autoencoder keeps what there is to see, in the mean over images; the note tells every texture's mean."""
        per = ", ".join(f"{k} {np.mean(v):.1f}" for k, v in sorted(psnr.items()) if k != "all")
        return {"vae.psnr": self.at_least(psnr["all"], VAE_PSNR, f"held-out scenes, dB; {per}")}

    def attributes(
        self, kind: str, made: Mapping[str, Sequence[float]], true: Mapping[str, Sequence[float]]
    ) -> dict[str, Gate]:
        """Samples show what the caption asks for: half-way from chance to what true scenes reach."""
        gates = {}
        for name, classes in ATTRIBUTES.items():
            chance, best = 1 / len(classes), float(np.mean(true[name]))
            bound = chance + 0.5 * (best - chance)
            note = f"{name} as the caption says; chance {chance:.3f}, true scenes {best:.3f}"
            gates[f"{kind}.{name}"] = self.at_least(made[name], bound, note)
        return gates

    def better(
        self,
        compared: Mapping[str, Mapping[str, Sequence[float]]],
        first: str,
        others: Sequence[str],
        names: Sequence[str],
        where: str,
    ) -> dict[str, Gate]:
        """`first` beats each of `others` on each metric of `names`, intervals apart."""
        gates = {}
        for other in others:
            for name in names:
                mine, theirs = compared[first][name], compared[other][name]
                high, low = (theirs, mine) if name in LOWER_IS_BETTER else (mine, theirs)
                note = f"gain of {first} over {other}, {name}, {where}"
                gates[f"{first}_over_{other}.{name}"] = self.above(high, low, note)
        return gates

    def acda(self, run: str, found: Mapping[str, Any]) -> dict[str, Gate]:
        """The second attention term counts, and a wrong image's tokens cost."""
        ratio = found["rms_frequency"] / found["rms_text"]
        note = "RMS of the frequency term over the text term"
        size = Gate(_round(ratio), FREQUENCY_RATIO, None, ratio >= FREQUENCY_RATIO, note)
        percent = 100 / float(np.mean(found["own"]))
        own, other = ([percent * value for value in found[name]] for name in ("own", "other"))
        cost = self.above(other, own, "rise of L_simple under another image's tokens, percent of its mean")
        return {f"{run}.frequency_ratio": size, f"{run}.wrong_tokens": cost}

    def networks(self, found: Mapping[str, Any]) -> dict[str, Gate]:
        """The published methods' networks follow the captions, and the one without text knows scenes from noise."""
        gates: dict[str, Gate] = {}
        shown = found["attributes"]
        for name in (name for name in shown if name != "true"):
            gates |= self.attributes(name, shown[name], shown["true"])
        if "retrieval" in found:
            note = "CLIP's nearest of 64 distinct captions is the image's own, held-out scenes"
            gates["clip.retrieval"] = self.at_least(found["retrieval"], RETRIEVAL, note)
        if "denoising" in found:
            note = "gain of the pixel network over the best linear guess, L_simple, held-out scenes"
            gates["pixel.denoising"] = self.above(found["denoising"]["linear"], found["denoising"]["network"], note)
        return gates


def as_json(gates: Mapping[str, Gate]) -> dict[str, Any]:
    """Plain data for reports/gates.json."""
    return {name: asdict(gate) for name, gate in gates.items()}


def as_table(gates: Mapping[str, Gate]) -> str:
    """One aligned line per gate for a terminal."""
    width = max(len(name) for name in gates)
    lines = []
    for name, gate in gates.items():
        interval = f"[{gate.interval[0]:+.4f}, {gate.interval[1]:+.4f}]" if gate.interval else ""
        state = "holds" if gate.holds else "FAILS"
        lines.append(f"{state}  {name:<{width}}  {gate.value:8.4f} ≥ {gate.bound:7.4f}  {interval}")
    return "\n".join(lines)


def _gate(found: Interval, bound: float, holds: bool, note: str) -> Gate:
    return Gate(_round(found.mean), _round(bound), (_round(found.low), _round(found.high)), holds, note)


def _round(value: float) -> float:
    return round(float(value), 6)
