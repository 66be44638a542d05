"""Compare ours with the published methods: scores, facts and images → Table 1 and Figures 4 and 5 under reports/."""

from __future__ import annotations

from pathlib import Path

from ecdm.config import Params, load_params
from ecdm.data.files import fresh_entries
from ecdm.reporting.comparison import Scope, read_facts, read_values
from ecdm.reporting.comparison_figures import read_figures, write_figures
from ecdm.reporting.comparison_latex import comparison_document
from ecdm.reporting.comparison_results import Comparison
from ecdm.reporting.comparison_text import comparison_page
from ecdm.reporting.provenance import read_inputs
from ecdm.reporting.summary import Bootstrap
from ecdm.stage import run

DATA, BUILD, REPORTS = Path("data"), Path("build"), Path("reports")


def scope_of(params: Params) -> Scope:
    """What params.yaml compares."""
    datasets = (params.data.source, params.data.second.source)
    masks, distance, candidates = params.masks, params.evaluate.perceptual, params.compare.blended.candidates
    rivals, own = params.compare.methods, params.compare.variant.name
    return Scope.of(rivals, own, datasets, masks.buckets, masks.sets, distance, candidates)


def main() -> None:
    """build/{compare,compared,masks}, data → reports/comparison* and reports/figures, all of them or none."""
    params = load_params()
    scope = scope_of(params)
    draws = Bootstrap(params.evaluate.resamples, params.evaluate.level, params.seed)
    values, facts = read_values(BUILD / "compared", scope), read_facts(BUILD / "compare", scope)
    found = Comparison.of(scope, facts, values, draws)
    grids = read_figures(scope, DATA, BUILD)
    read = [DATA / params.data.source, DATA / "custom", *(BUILD / name for name in ("masks", "compare", "compared"))]
    texts = found.files()
    texts["comparison.md"] = comparison_page(found, grids, read_inputs(read))
    texts["comparison.tex"] = comparison_document(found)
    with fresh_entries(REPORTS) as folder:
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        write_figures(folder, grids)


if __name__ == "__main__":
    run("comparison", main)
