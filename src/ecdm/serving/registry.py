"""Trained variants as versions of one registered MLflow model, and the aliases that say which of them is in use."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from ecdm.address import project_of
from ecdm.config import load_params
from ecdm.lineage import Entry, entry_key, identity, settings
from ecdm.reporting.summary import Bootstrap
from ecdm.root import PARAMS
from ecdm.serving.comparison import Comparison, Measure, Values, compare, means, read_values
from ecdm.serving.trained import TRAIN, Trained, trained
from ecdm.serving.versions import (
    CHALLENGER,
    CHAMPION,
    CONTENT,
    NAME,
    SCORED,
    SCORES,
    SOURCE,
    TESTED,
    content_key,
    fetch,
    file_md5,
    find_version,
    label,
    tag,
)
from ecdm.tracking import KEY, Store, failures

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

# The variant whose newest version becomes challenger, and the tag that says that it once was.
OFFERED, WAS_CHALLENGER = "ours", "ecdm.was_challenger"
MODEL_ID = "model_id"
# How long a command waits for another one on this machine.
SECONDS = 600.0


@dataclass(frozen=True)
class Registered:
    """Run → its version and whether it is new; the versions of the aliases; a line for each run left out."""

    versions: Mapping[str, tuple[int, bool]]
    aliases: Mapping[str, int]
    skipped: Sequence[str]


@dataclass(frozen=True)
class Decision:
    """Both versions, how they compare, and with that whether the challenger became champion."""

    champion: str
    challenger: str
    found: Comparison


def register(root: Path, entries: Mapping[str, Entry], variants: Sequence[str] = ()) -> Registered:
    """Register the variants (none: all) of a reproduction, every run that is not there yet.

    The first version becomes champion where there is none; the newest of `ours` becomes challenger, once.
    `entries`: as `trained` takes them. Raises: as `trained`; ValueError for a variant asked for that is not as in
    dvc.lock, where no run can be registered, and for a store that fails; FileNotFoundError for a missing file.
    """
    runs, skipped = trained(root, entries, variants)
    if skipped and (variants or not runs):
        raise ValueError(f"cannot register {'; '.join(skipped)}")
    with _shelf(root) as shelf:
        versions = {run.name: shelf.add(run) for run in runs}
        return Registered(versions, shelf.assign_aliases(), skipped)


def promote(root: Path, measure: Measure) -> Decision:
    """Make the challenger champion if the paired bootstrap interval of their difference says that it is better.

    The interval is drawn as params.yaml of the project at `root` says.
    Raises: ValueError for a missing alias, one version under both, scores of other images, an unknown measure.
    """
    params = load_params(root / PARAMS)
    draws = Bootstrap(params.evaluate.resamples, params.evaluate.level, params.seed)
    with _shelf(root) as shelf:
        old, new = (find_version(shelf.client, NAME, alias) for alias in (CHAMPION, CHALLENGER))
        if int(old.version) == int(new.version):
            raise ValueError(f"{NAME}: {label(old)} is champion and challenger; nothing to promote")
        if tag(old, TESTED) != tag(new, TESTED):
            raise ValueError(f"{NAME}: {label(old)} and {label(new)} were scored on different test images")
        decision = Decision(label(old), label(new), compare(shelf.scores(old), shelf.scores(new), measure, draws))
        if decision.found.wins:
            shelf.client.set_registered_model_alias(NAME, CHAMPION, str(new.version))
        return decision


@contextmanager
def _shelf(root: Path) -> Iterator[_Shelf]:
    """The registered model, for one process on this machine at a time."""
    store, path = Store.connect(root), project_of(root) / "mlflow.db.registry.lock"
    try:
        alone = FileLock(path).acquire(timeout=SECONDS)
    except Timeout as error:
        raise ValueError(f"the registry is in use: {path} not free within {SECONDS:g} s") from error
    with alone, failures(store.client.tracking_uri):
        yield _Shelf(store)


class _Shelf:
    """The registered model in a store."""

    def __init__(self, store: Store) -> None:
        self.store, self.client = store, store.client

    def add(self, run: Trained) -> tuple[int, bool]:
        """The version of a run and whether it was made now; its scores are those of the run.

        The version comes last, when everything else is stored: what a killed process left is completed.
        """
        chosen = f"tags.`{SOURCE}` = '{run.source}'"
        known = self._versions(chosen)
        made = [] if known else [self._make(run)]
        # On a server another machine may have been quicker.
        first, *others = known or self._versions(chosen)
        for other in others:
            self.client.delete_model_version(NAME, str(other.version))
        if (first.tags.get(SCORED), first.tags.get(TESTED)) != (run.scored, run.tested_on):
            self._log_scores(run, tag(first, MODEL_ID))
            for name, value in _score_tags(run).items():
                self.client.set_model_version_tag(NAME, str(first.version), name, value)
        return int(first.version), first.version in [version.version for version in made]

    def assign_aliases(self) -> dict[str, int]:
        """Give out the aliases that nobody holds yet; returns all."""
        versions = [version for version in self._versions() if SOURCE in version.tags]
        if CHAMPION not in self.client.get_registered_model(NAME).aliases:
            self.client.set_registered_model_alias(NAME, CHAMPION, str(versions[0].version))
        offered = [version for version in versions if version.tags.get("variant") == OFFERED]
        # A tag, not the alias: an alias that somebody moved since stays where it is.
        if offered and WAS_CHALLENGER not in offered[-1].tags:
            number = str(offered[-1].version)
            self.client.set_registered_model_alias(NAME, CHALLENGER, number)
            self.client.set_model_version_tag(NAME, number, WAS_CHALLENGER, "yes")
        aliases = self.client.get_registered_model(NAME).aliases
        return {alias: int(number) for alias, number in aliases.items()}

    def scores(self, version: ModelVersion) -> Values:
        """What was logged with a version; ValueError where these are not the scores that its tags tell of."""
        with TemporaryDirectory() as folder:
            path = fetch(self.client, version, SCORES, Path(folder))
            if file_md5(path) != tag(version, SCORED):
                raise ValueError(f"{label(version)}: its scores were not stored completely; run `ecdm register`")
            return read_values(path)

    def _make(self, run: Trained) -> ModelVersion:
        from mlflow.exceptions import MlflowException

        model = self._complete(run, self._logged(run))
        origin = {name: value for name, value in _identity(run).items() if not name.startswith("mlflow.")}
        origin |= {"run_id": str(model.source_run_id), MODEL_ID: model.model_id, "dataset": run.dataset}
        hashes = {SOURCE: run.source, CONTENT: model.tags[CONTENT], KEY: entry_key(run.entries[TRAIN])}
        try:
            self.client.create_registered_model(NAME, description="Text-guided inpainting: a version per trained run.")
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        return self.client.create_model_version(
            NAME,
            model.artifact_location,
            model.source_run_id,
            origin | hashes | _score_tags(run),
            description=f"{run.variant}, seed {run.seed}, trained on {run.dataset}",
            model_id=model.model_id,
        )

    def _logged(self, run: Trained) -> LoggedModel:
        """The MLflow model of a run, maybe without its files; of two made at once on one server the older stays."""
        experiment, chosen = self.store.experiment_id, f"tags.`{SOURCE}` = '{run.source}'"
        oldest = [{"field_name": "creation_timestamp", "ascending": True}]
        found = self.client.search_logged_models([experiment], chosen, order_by=oldest)
        if not found:
            tags = {SOURCE: run.source, "variant": run.variant, "seed": str(run.seed)}
            made = self.client.create_logged_model(experiment, run.name, self._run(run), tags)
            found = self.client.search_logged_models([experiment], chosen, order_by=oldest)
            if found and found[0].model_id != made.model_id:
                self.client.delete_logged_model(made.model_id)
        return found[0]

    def _complete(self, run: Trained, model: LoggedModel) -> LoggedModel:
        """Write a model's files where they are not all there yet."""
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus
        from mlflow.models import Model

        if model.status != LoggedModelStatus.READY:
            from ecdm.serving.export import export_model
            from ecdm.serving.model import ARTIFACT, write_model

            header = Model(model.artifact_location, model.source_run_id, model_uuid=model.model_id,
                           model_id=model.model_id)  # fmt: skip
            with TemporaryDirectory() as folder:
                export, written = Path(folder, ARTIFACT), Path(folder, "written")
                export_model(run.folder, export)
                write_model(export, written, header)
                self.client.log_model_artifacts(model.model_id, str(written))
                self.client.set_logged_model_tags(model.model_id, {CONTENT: content_key(export)})
            outputs = self.client.get_run(str(model.source_run_id)).outputs
            # MLflow refuses to log a run's output twice.
            if not outputs or model.model_id not in [output.model_id for output in outputs.model_outputs]:
                self.client.log_outputs(str(model.source_run_id), [LoggedModelOutput(model.model_id, 0)])
            self.client.finalize_logged_model(model.model_id, "READY")
        self._log_scores(run, model.model_id)
        return self.client.get_logged_model(model.model_id)

    def _run(self, run: Trained) -> str:
        """The run of the training, made where nobody tracked it; `ecdm sync` fills it."""
        entry = run.entries[TRAIN]
        made_of = settings(run.stage, entry, run.root), _identity(run)
        tracker = self.store.run(entry_key(entry), run.stage, *made_of, strict=True)
        if tracker.written["runs"]:
            tracker.close()
        return tracker.run_id

    def _log_scores(self, run: Trained, model_id: str) -> None:
        with TemporaryDirectory() as folder:
            copy = shutil.copyfile(run.scores, Path(folder, SCORES))
            self.client.log_model_artifact(model_id, str(copy))

    def _versions(self, chosen: str = "") -> list[ModelVersion]:
        found = self.client.search_model_versions(" and ".join(filter(None, (f"name = '{NAME}'", chosen))))
        return sorted(found, key=lambda version: int(version.version))


def _identity(run: Trained) -> dict[str, str]:
    return identity(run.stage, run.root, None)


def _score_tags(run: Trained) -> dict[str, str]:
    """The means, whose pictures they are of, and last the hash that says that all of it is stored."""
    return {**means(read_values(run.scores), run.dataset), TESTED: run.tested_on, SCORED: run.scored}
