"""The section `tune` of params.yaml: what is refused, by which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from search_toy import settings, write_search

from ecdm.cli import main
from ecdm.search.settings import load_tune

RANGE = {"low": 0.001, "high": 1.0, "scale": "log"}
NOTHING = dict.fromkeys(("lambda", "radius", "lr", "features", "domain", "window"))
PSNR = {"metric": "psnr", "bucket": "50-60"}
FLOPS = {"metric": "sampling_flops", "bucket": None}


def space(**values: Any) -> dict[str, Any]:
    return {**NOTHING, **{name.replace("lam", "lambda"): value for name, value in values.items()}}


def test_the_projects_own_section_is_valid_and_has_a_short_form(tmp_path: Path) -> None:
    params, tune = load_tune(Path(__file__).parents[2] / "params.yaml")
    short = tune.shortened()
    assert short.study == f"{tune.study}-short"
    assert (short.trials, short.steps) == (tune.short.trials, tune.short.steps)
    assert short.space == tune.space
    assert tune.images <= params.data.validation


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"space": NOTHING}, "tune.space: found an empty space, expected at least one of lambda, radius"),
    ({"space": space(lam={**RANGE, "low": 2.0})}, "tune.space.lambda: found low 2.0 and high 1.0, expected low below"),
    ({"space": space(lam={**RANGE, "low": 0.0})}, "tune.space.lambda: found scale log with a step or low 0"),
    ({"space": space(features=["decoder"])}, "tune.space: features: found ['decoder'], expected at least two values"),
    ({"space": space(radius={"low": 0, "high": 64})}, "tune.space.radius.high: found 64, expected below 64"),
    (
        {"space": space(radius={"low": 0, "high": 8}, domain=["image", "latent"])},
        "tune.space.radius.high: found 8, expected below 8, the last frequency of 16 samples",
    ),
    ({"objectives": []}, "tune: objectives: found an empty list"),
    ({"objectives": [PSNR, PSNR]}, "tune: objectives: found one twice"),
    (
        {"objectives": [{**PSNR, "metric": "psnrr"}]},
        "tune.objectives.0.metric: found 'psnrr', expected one of psnr, ssim",
    ),
    ({"objectives": [{**PSNR, "bucket": "1-2"}]}, "tune.objectives.0.bucket: found '1-2', expected one of 10-20"),
    (
        {"objectives": [{**PSNR, "bucket": None}]},
        "tune.objectives.0: found metric psnr with bucket None, expected a bucket",
    ),
    (
        {"objectives": [{**FLOPS, "bucket": "50-60"}]},
        "found metric sampling_flops with bucket 50-60, expected no bucket",
    ),
    (
        {"objectives": [PSNR, FLOPS], "pruner": "median"},
        "tune: pruner: found median with several objectives, which Optuna cannot prune; expected none",
    ),
    (
        {"sampler": "cmaes", "objectives": [PSNR, FLOPS], "pruner": "none"},
        "tune: sampler: found cmaes with several obj",
    ),
    (
        {"sampler": "cmaes", "space": space(lam=RANGE, lr=RANGE, window=["circle", "square"])},
        "cmaes with the list window",
    ),
    ({"sampler": "cmaes", "space": space(lam=RANGE)}, "tune: sampler: found cmaes with one range in the space"),
    ({"sampler": "cmaes", "memory_gib": 2.0}, "tune: sampler: found cmaes with memory_gib, expected null"),
    ({"variant": "acda"}, "tune: space.lambda: found with variant acda, which has no such part; expected sail or ours"),
    ({"variant": "sail"}, "tune: space.radius: found with variant sail, which has no such part; expected acda or ours"),
    ({"report_every": 5}, "tune.report_every: found 5, expected at most steps, 4"),
    ({"images": 1000}, "tune.images: found 1000, expected at most data.validation, 128"),
    ({"trials": 1}, "tune.trials: found 1, expected greater than or equal to 2"),
    ({"study": "a b"}, "tune.study: found 'a b', expected"),
    ({"extra": 1}, "tune.extra: unknown key"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_what_cannot_be_is_refused_by_its_key(
    tmp_path: Path,
    changes: dict[str, Any],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_search(tmp_path, **changes)
    with pytest.raises(ValueError) as error:  # noqa: PT011
        load_tune(path)
    assert str(error.value).startswith(f"{path}: tune")
    assert message in str(error.value)
    # The commands say it before a study is made, and so does the check.
    monkeypatch.chdir(tmp_path)
    for command in (["check"], ["tune", "prepare"]):
        assert main(command) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "studies.db").exists()


def test_several_objectives_go_with_tpe_and_gp(tmp_path: Path) -> None:
    for sampler in ("tpe", "gp"):
        _, tune = settings(tmp_path, sampler=sampler, pruner="none", objectives=[PSNR, FLOPS])
        assert len(tune.objectives) == 2
