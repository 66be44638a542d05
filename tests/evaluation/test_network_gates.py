"""The gates of the published methods' networks hold on good values and fail on values that violate them."""

from __future__ import annotations

from typing import Any

import pytest

from ecdm.evaluation.gates import Judge
from ecdm.models.classifier import ATTRIBUTES

JUDGE = Judge(seed=0, resamples=200, level=0.95)
N = 12
SAMPLED = ("glide", "sd_inpaint")
ALL = [*(f"{kind}.{name}" for kind in SAMPLED for name in ATTRIBUTES), "clip.retrieval", "pixel.denoising"]


def good() -> dict[str, Any]:
    """What the audit measures when all is well."""
    full = {name: [1.0] * N for name in ATTRIBUTES}
    return {
        "attributes": {"true": full, **{kind: dict(full) for kind in SAMPLED}},
        "retrieval": [1.0] * 6 + [0.0] * 6,
        "denoising": {"network": [0.1 + 0.001 * i for i in range(N)], "linear": [0.2 + 0.001 * i for i in range(N)]},
    }


def spoiled(gate: str) -> dict[str, Any]:
    values = good()
    kind, name = gate.split(".")
    if kind in SAMPLED:
        # Half-way from chance to 1 is at least 0.5; below half of the images fails for every attribute.
        values["attributes"][kind][name] = [1.0] * 5 + [0.0] * 7
    elif kind == "clip":
        values["retrieval"] = [1.0] * 5 + [0.0] * 7
    else:
        values["denoising"]["network"] = [value + 0.1 for value in values["denoising"]["network"]]
    return values


def test_all_hold_on_good_values() -> None:
    gates = JUDGE.networks(good())
    assert list(gates) == ALL
    assert all(gate.holds for gate in gates.values())
    assert gates["clip.retrieval"].bound == gates["clip.retrieval"].value == 0.5
    assert gates["pixel.denoising"].value == pytest.approx(0.1)


@pytest.mark.parametrize("gate", ALL)
def test_each_fails_alone(gate: str) -> None:
    gates = JUDGE.networks(spoiled(gate))
    assert [name for name in gates if not gates[name].holds] == [gate]


def test_bounds_are_half_way_from_chance_to_the_true_scenes() -> None:
    values = good()
    values["attributes"]["true"] = {name: [1.0] * 9 + [0.0] * 3 for name in ATTRIBUTES}
    gates = JUDGE.networks(values)
    for name, classes in ATTRIBUTES.items():
        chance = 1 / len(classes)
        assert gates[f"glide.{name}"].bound == pytest.approx(chance + 0.5 * (0.75 - chance), abs=1e-6)


def test_networks_that_were_not_measured_have_no_gates() -> None:
    values = good()
    del values["denoising"], values["attributes"]["glide"]
    assert list(JUDGE.networks(values)) == [name for name in ALL if not name.startswith(("glide", "pixel"))]
