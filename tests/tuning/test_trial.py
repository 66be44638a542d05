"""One trial of a search on a small project: what it reports, how it goes on, what it must not see."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from search_toy import by_slot

from ecdm.config import load_params
from ecdm.data.dataset import MaskedFolder
from ecdm.methods.base import generator_for
from ecdm.methods.ours import variant
from ecdm.models.branch import load_branch
from ecdm.models.foundation import load_foundation
from ecdm.numerics import metrics
from ecdm.numerics.samplers import paste
from ecdm.search.interrupts import Interrupts
from ecdm.search.plan import load, prepare
from ecdm.search.settings import load_tune
from ecdm.search.worker import Attempt, Outcome, Worker
from ecdm.tracker import NullTracker
from ecdm.training import loop
from ecdm.tuning.session import Mirrored
from ecdm.tuning.trial import Bench, trial_inputs

SEARCH: dict[str, Any] = {
    "variant": "ours",
    "space": {"lambda": {"low": 0.01, "high": 1.0, "scale": "log"}, "radius": {"low": 0, "high": 12, "step": 1}},
    "trials": 3, "startup": 1, "noise": 2, "steps": 4, "report_every": 2, "prune_after": 0, "images": 2,
    "short": {"images": 2},
}  # fmt: skip
Write = Callable[..., None]


class Search:
    """A search of the small project in memory."""

    def __init__(self, root: Path, write_params: Write, **changes: Any) -> None:
        write_params(root, tune={**SEARCH, **changes})
        self.root = root
        self.params, self.tune = load_tune(root / "params.yaml")
        self.storage = InMemoryStorage()
        self.inputs = trial_inputs(root, "scenes")
        prepare(self.storage, self.params, self.tune, self.inputs)
        self.said: list[str] = []

    def work(self, around: Callable[[Bench, Attempt], Outcome] = lambda bench, attempt: bench(attempt)) -> str | None:
        bench = Bench.load(self.root, self.params, self.tune, self.inputs)
        watch = Mirrored(None)
        with Interrupts() as interrupts:
            return Worker(
                self.storage, self.params, self.tune, lambda attempt: around(bench, attempt), watch,
                self.said.append, None, interrupts,
            ).run()  # fmt: skip

    def values(self) -> dict[str, list[Any]]:
        studies = load(self.storage, self.tune)
        return {
            study.user_attrs["phase"]: [(t.params, t.values, t.intermediate_values) for t in study.get_trials()]
            for study in (studies.search, studies.noise)
            if study is not None
        }


def test_a_trial_is_the_training_of_its_values_judged_on_validation_images(
    tree: Path, write_params: Write, load_stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the pipeline's own training stage with the same values, and a metric taken by hand."""
    search = Search(tree, write_params, noise=0, trials=2)
    search.work()
    (point, (value,), reported) = search.values()["search"][1]
    lam, radius = float(f"{point['sail.lambda']:.4g}"), point["acda.radius"]
    train = {"steps": 4, "validate_every": 2, "checkpoint_every": 2}
    write_params(tree, sail={"lambda": lam}, acda={"radius": radius}, train=train, variants=["ours"])
    load_stage("variants").main()
    load_stage("train").main("ours", 0)

    params, parts = load_params(), load_foundation(Path("build/foundation"))
    method = variant("any", parts, load_branch(Path("build/train/ours-0/weights")), params.generate)
    folder = MaskedFolder(Path("data/scenes"), Path("build/masks/validation"), "50-60", 2, split="validation")
    batch = next(iter(folder))
    generators = [generator_for(params.seed, "validation", "50-60", number) for number in batch.ids]
    output = paste(method.inpaint(batch, generators), batch.images, batch.masks)
    assert value == pytest.approx(float(metrics.psnr(output, batch.images).double().mean()), abs=1e-6)
    assert list(reported) == [2, 4]
    assert reported[4] == value
    assert not list((tree / "build" / "tune").rglob("*.safetensors"))


def test_trials_differ_by_their_values_alone(tree: Path, write_params: Write) -> None:
    found = []
    for _ in range(2):
        search = Search(tree, write_params)
        search.work()
        found.append(search.values())
    assert found[0] == found[1]
    # The same values under the search's own seed and two others; what judges them is the same noise.
    seeds = [values for _, values, _ in found[0]["noise"]]
    assert len({value for (value,) in [found[0]["search"][0][1], *seeds]}) == 3


def test_a_killed_trial_goes_on_from_its_checkpoint_with_the_same_result(
    tree: Path, write_params: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Search(tree, write_params, noise=0, steps=6, trials=2)
    whole.work()
    search = Search(tree, write_params, noise=0, steps=6, trials=2)
    killed: list[int] = []
    steps: list[int] = []
    real = loop._step

    def step(*given: Any) -> dict[str, float]:
        number = given[-1]
        steps.append(number)
        if number == 5 and not killed:
            killed.append(number)
            raise RuntimeError("killed")
        return real(*given)

    monkeypatch.setattr(loop, "_step", step)
    with pytest.raises(RuntimeError):
        search.work()
    search.work()
    # The first trial was at step 4 when it was lost, and went on there.
    assert steps[:8] == [0, 1, 2, 3, 4, 5, 4, 5]
    (lost, done) = by_slot(load(search.storage, search.tune).search)[0]
    assert (lost.state, done.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert done.intermediate_values == whole.values()["search"][0][2]
    assert done.values == whole.values()["search"][0][1]


def test_test_images_are_never_touched(tree: Path, write_params: Write) -> None:
    search = Search(tree, write_params, trials=2)
    opened: list[str] = []
    watching = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event == "open" and isinstance(arguments[0], str | bytes | Path):
            opened.append(str(arguments[0]))

    sys.addaudithook(hook)
    search.work()
    watching = False
    read = [Path(name).relative_to(tree).as_posix() for name in opened if name.startswith(f"{tree}/")]
    assert any(name.startswith("data/scenes/validation/") for name in read)
    assert any(name.startswith("build/masks/validation/") for name in read)
    shut = ("data/scenes/test", "data/photos", "build/masks/scenes", "build/masks/photos", "build/edges/scenes/test")
    assert not [name for name in read if name.startswith(shut) or name.endswith("_test.json")]
    # And with them gone, the same values.
    for name in shut:
        shutil.rmtree(tree / name)
    (tree / "data/scenes/annotations/captions_test.json").unlink()
    again = Search(tree, write_params, trials=2)
    again.work()
    assert again.values() == search.values()


def test_a_training_that_diverges_is_pruned_and_the_search_goes_on(
    tree: Path, write_params: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = Search(tree, write_params, noise=0)
    diverging: list[int] = []
    real = loop._check_finite

    def check(name: str, value: float, step: int) -> None:
        real(name, math.nan if diverging and step == 3 else value, step)

    def around(bench: Bench, attempt: Attempt) -> Outcome:
        diverging[:] = [attempt.slot] if attempt.slot == 1 else []
        return bench(attempt)

    monkeypatch.setattr(loop, "_check_finite", check)
    assert search.work(around) is None
    trials = {slot: tries[0] for slot, tries in by_slot(load(search.storage, search.tune).search).items()}
    assert [trials[slot].state.name for slot in range(3)] == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert trials[1].user_attrs["reason"] == "diverged: step 3: found loss nan, expected a finite number"
    assert not list((tree / "build" / "tune").rglob("*.safetensors"))


def test_a_front_of_quality_and_cost(tree: Path, write_params: Write) -> None:
    goals = [{"metric": "lpips_random", "bucket": "10-20"}, {"metric": "training_flops", "bucket": None}]
    space = {"lambda": None, "radius": None, "features": ["decoder", "residuals"], "window": ["circle", "square"]}
    search = Search(tree, write_params, objectives=goals, space=space, trials=4, startup=3, noise=0)
    search.work()
    cost: dict[str, set[float]] = {}
    for point, (distance, flops), reported in search.values()["search"]:
        cost.setdefault(point["sail.features"], set()).add(flops)
        assert 0 < distance < 1
        assert reported == {}
    # The teacher's decoder is run for the decoder's features alone.
    assert {len(found) for found in cost.values()} == {1}
    assert max(cost["decoder"]) > max(cost["residuals"])


def test_memory_is_that_of_the_trial(tree: Path, write_params: Write) -> None:
    search = Search(tree, write_params, noise=0, trials=2)
    search.work()
    trial = load(search.storage, search.tune).search.get_trials()[0]
    assert 0.1 < trial.user_attrs["peak_memory_gib"] < 8


def test_what_is_missing_is_named(tree: Path, write_params: Write) -> None:
    (tree / "build/latents/validation.safetensors").unlink()
    with pytest.raises(FileNotFoundError) as error:
        Search(tree, write_params)
    assert "latents/validation.safetensors" in str(error.value)


def test_the_attempt_reports_to_its_tracker(tree: Path, write_params: Write) -> None:
    seen: dict[str, list[int]] = {"metrics": [], "images": []}

    class Live(NullTracker):
        def metrics(self, values: Any, step: int) -> None:
            json.dumps(values)
            seen["metrics"].append(step)

        def image(self, key: str, image: Any, step: int) -> None:
            assert (key, image.shape) == ("validation", (96, 64, 3))
            seen["images"].append(step)

    search = Search(tree, write_params, noise=0, trials=2)

    def around(bench: Bench, attempt: Attempt) -> Outcome:
        object.__setattr__(attempt, "tracker", Live())
        return bench(attempt)

    search.work(around)
    assert seen["images"] == [2, 4, 2, 4]
    assert set(seen["metrics"]) >= {1, 2, 4}
