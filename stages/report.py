"""Stage report: scores, histories, gates, costs and images of the ablation → tables, figures, page under reports/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ecdm import stage
from ecdm.config import Params, load_params
from ecdm.data.files import fresh_entries
from ecdm.numerics.buckets import largest_bucket
from ecdm.reporting.ablation import Findings, Setup, files
from ecdm.reporting.comparison_page import section_files
from ecdm.reporting.drawings import draw
from ecdm.reporting.gates import read_gates
from ecdm.reporting.grids import read_grids
from ecdm.reporting.histories import curve_csv, history_paths, read_histories
from ecdm.reporting.material import Material
from ecdm.reporting.page import report_page
from ecdm.reporting.provenance import read_inputs
from ecdm.reporting.scores import read_scores
from ecdm.reporting.summary import Bootstrap

DATA, BUILD, REPORTS = Path("data"), Path("build"), Path("reports")
GATES = REPORTS / "gates.json"
MADE = ("masks", "variants", "train", "generate", "scores", "cost")


def used(params: Params) -> dict[str, Any]:
    """What the page lists of params.yaml: all that this stage depends on."""
    sections = {"train": params.train, "generate": params.generate, "evaluate": params.evaluate}
    lists = {"seed": params.seed, "seeds": params.seeds, "variants": params.variants}
    return {**lists, "masks.buckets": params.masks.buckets, **{k: v.model_dump() for k, v in sections.items()}}


def main() -> None:
    """Read everything, write and draw beside reports/, then move it there: an error leaves no half of a report."""
    params = load_params()
    judged, sampling, runs = params.evaluate, params.generate, (params.variants, params.seeds)
    scores = read_scores(BUILD / "scores", *runs, params.masks.buckets)
    histories, gates = read_histories(history_paths(BUILD / "train", *runs)), read_gates(GATES)
    grids = read_grids(DATA, BUILD, scores, params.seeds[0], largest_bucket(params.masks.buckets))
    findings = Findings.of(scores, gates, Bootstrap(judged.resamples, judged.level, params.seed))
    sampled = sampling.sampler, sampling.steps, sampling.guidance, sampling.precision
    setup = Setup(*sampled, params.train.steps, judged.resamples, judged.level)
    read = [DATA / params.data.source, DATA / "photos", *(BUILD / name for name in MADE), GATES, REPORTS / "search"]
    inputs = read_inputs([*read, *section_files(REPORTS)])
    shown = Material.read(BUILD, REPORTS, params.variants, histories, grids, inputs, used(params))
    texts = {f"curves/{name}.csv": curve_csv(series) for name, series in histories.items()}
    texts |= files(findings, setup, inputs)
    texts["report.html"] = report_page(findings, setup, shown)
    with fresh_entries(REPORTS) as folder:
        (folder / "curves").mkdir()
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        draw(folder, findings, histories, grids)


if __name__ == "__main__":
    stage.run("report", main)
