"""Every gate holds on good values and fails on values that violate it, alone and through the stage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ecdm.evaluation.gates import Judge, as_json, as_table
from ecdm.models.classifier import ATTRIBUTES
from ecdm.stage import run

JUDGE = Judge(seed=0, resamples=200, level=0.95)
N = 12


def spread(mean: float, step: float = 0.001) -> list[float]:
    """N values around a mean."""
    return [mean + step * (i - (N - 1) / 2) for i in range(N)]


def good() -> dict[str, Any]:
    """What the audits of foundation and networks write when all is well."""
    full = {name: [1.0] * N for name in ATTRIBUTES}
    fill = {"psnr": spread(15), "ssim": spread(0.3), "lpips_random": spread(0.5)}
    untuned = {"psnr": spread(17), "ssim": spread(0.4), "lpips_random": spread(0.2)}
    return {
        "spectral_share": spread(0.55),
        "vae_psnr": {"all": spread(28), "background wooden": spread(27), "item plain": spread(29)},
        "attributes": {"true": full, "text": dict(full), "inpainting": dict(full)},
        "compared": {
            "teacher": {"psnr": spread(20), "ssim": spread(0.6), "lpips_random": spread(0.1)},
            "unet": dict(untuned),
            "untuned": dict(untuned),
            **{name: dict(fill) for name in ("mean_fill", "telea", "navier_stokes")},
        },
        "networks": {
            "attributes": {"true": full, "glide": dict(full)},
            "retrieval": [1.0] * N,
            "denoising": {"network": spread(0.1), "linear": spread(0.2)},
        },
    }


def good_probe() -> dict[str, Any]:
    return {"rms_text": 2.0, "rms_frequency": 0.5, "own": spread(0.10), "other": spread(0.12)}


Spoil = Callable[[dict[str, Any], dict[str, Any]], None]


def _attribute(kind: str, name: str) -> Spoil:
    def spoil(values: dict[str, Any], probes: dict[str, Any]) -> None:
        # Half-way from chance to 1 is at least 0.5; below half of the images fails for every attribute.
        values["attributes"][kind] = {**values["attributes"][kind], name: [1.0] * 5 + [0.0] * (N - 5)}

    return spoil


def _compared(method: str, metric: str, value: float) -> Spoil:
    def spoil(values: dict[str, Any], probes: dict[str, Any]) -> None:
        values["compared"][method] = {**values["compared"][method], metric: spread(value)}

    return spoil


def _probe(variant: str, **changes: Any) -> Spoil:
    def spoil(values: dict[str, Any], probes: dict[str, Any]) -> None:
        probes[variant] = {**probes[variant], **changes}

    return spoil


def _network(*keys: str, value: list[float]) -> Spoil:
    def spoil(values: dict[str, Any], probes: dict[str, Any]) -> None:
        found = values["networks"]
        for key in keys[:-1]:
            found = found[key]
        found[keys[-1]] = value

    return spoil


def _value(key: str, value: Any) -> Spoil:
    return lambda values, probes: values.update({key: value})


SPOILED: dict[str, Spoil] = {
    "scenes.spectral_share": _value("spectral_share", spread(0.49)),
    "vae.psnr": _value("vae_psnr", {"all": spread(26.9), "wood": spread(40)}),
    **{f"text_to_image.{name}": _attribute("text", name) for name in ATTRIBUTES},
    **{f"inpainting.{name}": _attribute("inpainting", name) for name in ATTRIBUTES},
    "teacher_over_unet.psnr": _compared("unet", "psnr", 20.1),
    "teacher_over_unet.ssim": _compared("unet", "ssim", 0.61),
    "teacher_over_untuned.psnr": _compared("untuned", "psnr", 20.1),
    "teacher_over_untuned.ssim": _compared("untuned", "ssim", 0.61),
    **{
        f"untuned_over_{name}.lpips_random": _compared(name, "lpips_random", 0.1)
        for name in ("mean_fill", "telea", "navier_stokes")
    },
    **{
        f"glide.{name}": _network("attributes", "glide", name, value=[1.0] * 5 + [0.0] * (N - 5)) for name in ATTRIBUTES
    },
    "clip.retrieval": _network("retrieval", value=[1.0] * 5 + [0.0] * (N - 5)),
    "pixel.denoising": _network("denoising", "network", value=spread(0.21)),
    **{f"{name}-0.frequency_ratio": _probe(name, rms_frequency=0.19) for name in ("acda", "ours")},
    **{f"{name}-0.wrong_tokens": _probe(name, other=spread(0.09)) for name in ("acda", "ours")},
}


class Place:
    """The stage in a folder with what it reads."""

    def __init__(self, root: Path, main: Callable[[], None]) -> None:
        self.root, self.main = root, main
        self.values, self.probes = good(), {"acda": good_probe(), "ours": good_probe()}

    def run(self) -> tuple[int, dict[str, Any]]:
        """Exit code, and what reports/gates.json says."""
        audited = {"audit": {k: v for k, v in self.values.items() if k != "networks"}}
        audited["network_audit"] = self.values["networks"]
        for name, values in audited.items():
            (self.root / "build" / name).mkdir(parents=True)
            (self.root / "build" / name / "values.json").write_text(json.dumps(values))
        (self.root / "build" / "probe").mkdir()
        for name in ("baseline", "sail", "acda", "ours"):
            path = self.root / "build" / "probe" / f"{name}-0.json"
            path.write_text(json.dumps(self.probes.get(name)))
        code: Any = 0
        try:
            run("gates", self.main)
        except SystemExit as end:
            code = end.code
        return code, json.loads((self.root / "reports" / "gates.json").read_text(encoding="utf-8"))


@pytest.fixture
def place(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    load_stage: Callable[[str], ModuleType],
    write_params: Callable[..., None],
) -> Place:
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path)
    return Place(tmp_path, load_stage("gates").main)


def test_all_gates_hold_on_good_values(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = place.run()
    assert code == 0
    assert report["enforced"] is True
    assert set(report["gates"]) == set(SPOILED)
    assert all(gate["holds"] for gate in report["gates"].values())
    shown = capsys.readouterr().out
    assert all(f"holds  {name} " in shown for name in SPOILED)
    assert "FAILS" not in shown


@pytest.mark.parametrize("name", SPOILED)
def test_each_gate_can_fail_and_ends_the_stage(place: Place, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    SPOILED[name](place.values, place.probes)
    code, report = place.run()
    assert code == 1
    assert [key for key, gate in report["gates"].items() if not gate["holds"]] == [name]
    shown = capsys.readouterr()
    assert f"gates: 1 of {len(SPOILED)} do not hold ({name}); gates.enforce is true" in shown.err
    assert f"FAILS  {name} " in shown.out


def test_pretrained_networks_have_no_gates(place: Place) -> None:
    place.values["networks"] = {}
    code, report = place.run()
    assert code == 0
    assert set(SPOILED) - set(report["gates"]) == {
        *(f"glide.{n}" for n in ATTRIBUTES),
        "clip.retrieval",
        "pixel.denoising",
    }


def test_a_failed_gate_passes_when_not_enforced(
    place: Place, write_params: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    write_params(place.root, gates={"enforce": False})
    SPOILED["vae.psnr"](place.values, place.probes)
    code, report = place.run()
    assert code == 0
    assert report["enforced"] is False
    assert report["gates"]["vae.psnr"]["holds"] is False
    assert "FAILS  vae.psnr" in capsys.readouterr().out


def test_the_report_is_the_same_for_the_same_values(place: Place, tmp_path: Path) -> None:
    place.run()
    path = tmp_path / "reports" / "gates.json"
    first = path.read_bytes()
    run("gates", place.main)
    assert path.read_bytes() == first


def test_a_gate_holds_on_its_bound() -> None:
    assert JUDGE.at_least([27.0] * 4, 27.0, "").holds
    assert not JUDGE.at_least([27.0, 27.0, 27.0, 26.99], 27.0, "").holds


def test_a_difference_must_lie_apart_from_zero() -> None:
    base = spread(1.0)
    surely = [b + 0.1 + 0.01 * (-1) ** i for i, b in enumerate(base)]
    perhaps = [b + 0.1 + 3 * (-1) ** i for i, b in enumerate(base)]
    assert JUDGE.above(surely, base, "").holds
    unsure = JUDGE.above(perhaps, base, "")
    assert unsure.value == pytest.approx(0.1)
    assert unsure.interval is not None
    assert unsure.interval[0] < 0 < unsure.interval[1]
    assert not unsure.holds
    assert not JUDGE.above(base, base, "").holds
    assert not JUDGE.above(base, surely, "").holds


def test_pairing_is_by_image() -> None:
    """A gain far below the images' spread counts when every image has it."""
    base = [float(10 * i) for i in range(N)]
    assert JUDGE.above([b + 0.01 for b in base], base, "").holds


def test_attributes_are_bounded_half_way_from_chance_to_the_true_scenes() -> None:
    true = {name: [1.0, 1.0, 1.0, 0.0] for name in ATTRIBUTES}
    gates = JUDGE.attributes("text", true, true)
    for name, classes in ATTRIBUTES.items():
        chance = 1 / len(classes)
        assert gates[f"text.{name}"].bound == pytest.approx(chance + 0.5 * (0.75 - chance), abs=1e-6)
        assert gates[f"text.{name}"].value == 0.75


@pytest.mark.parametrize("metric", ["l1", "lpips", "lpips_random", "l1_hole", "psnr", "ssim", "psnr_hole"])
def test_smaller_distances_are_better(metric: str) -> None:
    compared = {"a": {metric: spread(0.2)}, "b": {metric: spread(0.4)}}
    lower = metric.startswith(("l1", "lpips"))
    assert JUDGE.better(compared, "a", ("b",), (metric,), "x")[f"a_over_b.{metric}"].holds is lower
    assert JUDGE.better(compared, "b", ("a",), (metric,), "x")[f"b_over_a.{metric}"].holds is not lower


def test_values_per_texture_are_printed() -> None:
    gate = JUDGE.vae({"all": spread(28), "item plain": spread(29), "background wooden": spread(27.25)})["vae.psnr"]
    assert "background wooden 27.2, item plain 29.0" in gate.note
    assert "all" not in gate.note


def test_a_probe_is_judged_by_its_ratio() -> None:
    gates = JUDGE.acda("x", {**good_probe(), "rms_frequency": 0.2})
    assert gates["x.frequency_ratio"].value == pytest.approx(0.1)
    assert gates["x.frequency_ratio"].holds
    assert gates["x.wrong_tokens"].value == pytest.approx(20)  # percent: from 0.10 to 0.12


def test_json_and_table_hold_every_gate() -> None:
    gates = JUDGE.acda("x", good_probe())
    content = as_json(gates)
    assert list(content) == list(gates)
    assert set(content["x.wrong_tokens"]) == {"value", "bound", "interval", "holds", "note"}
    assert json.loads(json.dumps(content))["x.wrong_tokens"]["interval"][0] > 0
    assert len(as_table(gates).splitlines()) == len(gates)


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        JUDGE.at_least([1.0, float("nan")], 0.5, "")
