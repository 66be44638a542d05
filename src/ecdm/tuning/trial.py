"""One trial of a search: training in this process, judged on validation images as it goes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from optuna import TrialPruned

from ecdm.config import Params, Train, VariantSettings
from ecdm.models.branch import Branch
from ecdm.models.foundation import Components, load_foundation
from ecdm.models.perceptual import load_perceptual
from ecdm.models.precision import default_device
from ecdm.models.variants import VARIANTS
from ecdm.pace import Paced
from ecdm.search.settings import COUNTED, Tune
from ecdm.search.space import objective_name, overridden
from ecdm.search.worker import Attempt, Outcome
from ecdm.tracking import PICTURES
from ecdm.training.checkpoint import drop_state, saved_history
from ecdm.training.experiment import Paths, inputs_digest, make_run
from ecdm.training.loop import Callbacks, Diverged, Run, train
from ecdm.training.sources import sources_digest
from ecdm.tuning.judge import SPLIT, Judge
from ecdm.tuning.memory import peak_gib, reset_peak

DATA, BUILD = Path("data"), Path("build")
# Code that a result comes from, beside that of training.
JUDGING = ("evaluation", "search/samplers.py", "search/space.py", "tuning/judge.py", "tuning/trial.py")


@dataclass(frozen=True)
class Bench:
    """What all trials of a worker share: settings, the foundation, the judge, and the digest of what they read."""

    params: Params
    tune: Tune
    components: Components
    judge: Judge
    paths: Paths
    inputs: str

    @classmethod
    def load(cls, root: Path, params: Params, tune: Tune, inputs: str) -> Bench:
        """Raises FileNotFoundError or ValueError naming the input at fault."""
        paths = trial_paths(root, params.data.source)
        components = load_foundation(paths.foundation)
        judge = Judge(
            goals=tune.objectives,
            components=components,
            settings=params.generate,
            perceptual=params.evaluate.perceptual,
            net=load_perceptual(params.evaluate.perceptual).to(default_device()),
            seed=params.seed,
            images=tune.images,
            data=paths.data,
            masks=root / BUILD / "masks" / SPLIT,
        )
        return cls(params, tune, components, judge, paths, inputs)

    def __call__(self, attempt: Attempt) -> Outcome:
        """Train and judge; what was lost with another worker goes on from its checkpoint, which has the slot's name.

        Raises: TrialPruned where the pruner says so or the training diverges.
        """
        params = overridden(self.params, attempt.values)
        seed = params.seeds[0] if attempt.seed is None else attempt.seed
        settings, variant = trial_settings(params.train, self.tune), trial_variant(params, self.tune)
        name = f"{attempt.study.study_name}-{attempt.slot}.safetensors"
        paths = replace(self.paths, checkpoint=self.paths.checkpoint / name)
        reset_peak()
        run = make_run(variant, settings, seed, paths, self.components, self.inputs)
        try:
            found = self._train(run, attempt)
        except (Diverged, TrialPruned) as error:
            drop_state(paths.checkpoint)
            raise TrialPruned(f"diverged: {error}" if isinstance(error, Diverged) else str(error)) from error
        drop_state(paths.checkpoint)
        counted = self.judge.counted(variant, params.data.size, settings.batch)
        named = found | counted
        return Outcome([named[objective_name(goal.model_dump())] for goal in self.tune.objectives], peak_gib())

    def _train(self, run: Run, attempt: Attempt) -> dict[str, float]:
        measured = [objective_name(goal.model_dump()) for goal in self.tune.objectives if goal.metric not in COUNTED]
        reported = measured[0] if len(self.tune.objectives) == 1 and measured else None
        live = Paced(attempt.tracker, run.settings)
        found: dict[str, float] = {}
        for step, name, value in saved_history(run.checkpoint, run.key):
            if name in measured:
                found[name] = value
            if name == reported:
                attempt.report(step, value)

        def validate(step: int, branch: Branch) -> Mapping[str, float]:
            values, picture = self.judge(branch)
            found.update(zip(measured, values, strict=True))
            if picture is not None:
                live.image(PICTURES, picture, step)
            if reported is not None:
                attempt.report(step, found[reported])
            return dict(found)

        train(run, Callbacks(lambda step, values: live.metrics(values, step), validate))
        return found


def trial_paths(root: Path, dataset: str) -> Paths:
    """The pipeline's inputs of a training; checkpoints lie in a folder of the searches' own."""
    build, nowhere = root / BUILD, root / BUILD / "tune"
    return Paths(
        data=root / DATA / dataset,
        edges=build / "edges" / dataset,
        latents=build / "latents",
        foundation=build / "foundation",
        output=nowhere,
        probe=nowhere,
        checkpoint=nowhere / "checkpoints",
    )


def trial_inputs(root: Path, dataset: str) -> str:
    """Digest of what trials read, and of the code that makes their results. Raises: as `inputs_digest`."""
    digest = hashlib.sha256(f"{inputs_digest(trial_paths(root, dataset))} {sources_digest(JUDGING)}".encode())
    for path in sorted((root / BUILD / "masks" / SPLIT).rglob("*.png")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def trial_settings(train: Train, tune: Tune) -> Train:
    """The training of a trial: shorter, and with a checkpoint at every look, so that little is lost with a worker."""
    every = tune.report_every if len(tune.objectives) == 1 else tune.steps
    changed = {"steps": tune.steps, "validate_every": every, "checkpoint_every": tune.report_every}
    return train.model_copy(update=changed)


def trial_variant(params: Params, tune: Tune) -> VariantSettings:
    """The variant that is searched, under the parameters of a trial."""
    parts = VARIANTS[tune.variant]
    return VariantSettings(
        name=tune.variant,
        sail=params.sail if parts.sail else None,
        acda=params.acda if parts.acda else None,
    )
