"""Stage report: scores, histories, gates and images of the ablation → tables and figures under reports/."""

from __future__ import annotations

from pathlib import Path

from ecdm import stage
from ecdm.config import Params, load_params
from ecdm.data.files import fresh_entries
from ecdm.reporting.ablation import DATASET, PHOTOS, Findings, Setup, digests, files
from ecdm.reporting.figures import bars, curves
from ecdm.reporting.gates import read_gates
from ecdm.reporting.grids import Folders, Sample, ablation_grid, read_samples
from ecdm.reporting.histories import curve_csv, history_paths, read_histories
from ecdm.reporting.labels import bucket_title
from ecdm.reporting.scores import Scores, read_scores, score_paths
from ecdm.reporting.summary import Bootstrap, pooled

DATA, BUILD, REPORTS = Path("data"), Path("build"), Path("reports")
GATES, ROWS = REPORTS / "gates.json", 6


def read_grids(params: Params, scores: Scores) -> dict[str, tuple[list[Sample], str]]:
    """Rows and footnote of each grid by name; no rows where nothing was scored."""
    shown = {f"ablation_{bucket}": (DATASET, bucket) for bucket in scores.buckets_of(DATASET)}
    shown["photos"] = (PHOTOS, params.masks.buckets[-1])
    grids = {}
    for name, (dataset, bucket) in shown.items():
        folders = Folders.of(DATA, BUILD, dataset, bucket, params.variants, params.seeds[0])
        samples = read_samples(folders, ROWS) if (dataset, bucket) in scores.images else []
        grids[name] = samples, f"Hole: {bucket_title(bucket)}. Outputs pasted, seed {params.seeds[0]}."
    return grids


def main() -> None:
    """Read everything, write and draw beside reports/, then move it there: an error leaves no half of a report."""
    params = load_params()
    judged, sampling, runs = params.evaluate, params.generate, (params.variants, params.seeds)
    scores = read_scores(BUILD / "scores", *runs, params.masks.buckets)
    paths = history_paths(BUILD / "train", *runs)
    histories, gates, grids = read_histories(paths), read_gates(GATES), read_grids(params, scores)
    findings = Findings.of(scores, gates, Bootstrap(judged.resamples, judged.level, params.seed))
    sampled = (sampling.sampler, sampling.steps, sampling.guidance)
    setup = Setup(*sampled, params.train.steps, judged.resamples, judged.level)
    inputs = digests([*score_paths(BUILD / "scores", *runs), *paths.values(), GATES])
    texts = {f"curves/{name}.csv": curve_csv(series) for name, series in histories.items()}
    with fresh_entries(REPORTS) as folder:
        (folder / "curves").mkdir()
        for name, text in (texts | files(findings, setup, inputs)).items():
            (folder / name).write_text(text, encoding="utf-8")
        for name, (samples, note) in grids.items():
            ablation_grid(samples, folder / "grids" / f"{name}.png", note)
        curves(histories, folder / "curves.png")
        bars(pooled(findings.changes), findings.buckets, findings.metrics, folder / "differences.png")


if __name__ == "__main__":
    stage.run("report", main)
