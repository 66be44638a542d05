"""The page: what it says about how the numbers were made, and that its warnings appear when they must."""

import json
import re
from typing import Any

import pytest

from ecdm.reporting.ablation import Findings, Setup, ablation_page, files
from ecdm.reporting.gates import Gate, Gates
from ecdm.reporting.provenance import Input
from ecdm.reporting.scores import read_scores
from ecdm.reporting.summary import Bootstrap

SETUP = Setup("dpmsolver++", 20, 3.0, "bf16", 240, 100, 0.95)
HELD = Gate("vae.psnr", "28.1", "≥ 27", "[27.9, 28.4]", True, "")
FAILED = Gate("teacher_over_unet.psnr", "-1", "> 0", "", False, "")


def findings(project: Any, variants: list[str], seeds: list[int], *gates: Gate, enforced: bool = True) -> Findings:
    scores = read_scores(project.scores, variants, seeds, project.BUCKETS)
    return Findings.of(scores, Gates(enforced, gates), Bootstrap(100, 0.95, 0))


def test_says_how_the_numbers_were_made(project: Any) -> None:
    page = ablation_page(findings(project, ["baseline", "ours"], [0, 1], HELD), SETUP, [Input("a/b.csv", "0123", 1, 9)])
    for part in (
        "n = 4 images per mask set",
        "seeds 0, 1",
        "multistep solver DPM-Solver++, 20 steps, guidance 3, networks in bfloat16, one output per image",
        "starts from the noised latents of the masked image",
        "95 %, bootstrap over images and seeds, 100 resamples",
        "more than σ_t / 2 of its pixels are hidden; at the end every cell that touches the hole is the network's own",
        "**It is not LPIPS**",
        "Published on MS-COCO",
        "| `a/b.csv` | `0123` | 1 | 9 |",
        "| `vae.psnr` | 28.1 | ≥ 27 | [27.9, 28.4] | yes |  |",
        "](grids/ablation_wide.png)",
        "](grids/photos.png)",
    ):
        assert part in page
    assert "One seed" not in page
    assert "CAUTION" not in page


def test_tables_hold_the_means_and_differences(project: Any) -> None:
    page = ablation_page(findings(project, ["baseline", "ours"], [0]), SETUP, [])
    pasted, raw = page.split("## Results, raw outputs")
    assert "| Ours | <b>13.5000</b> | <b>14.7500</b> | <u>16.0000</u> |" in pasted
    assert "| VAE ceiling (reference) | 17.5000 | 19.7500 |" in pasted
    assert "| Baseline | <u>2.5000</u> | <u>3.5000</u> | <b>4.5000</b> |" in raw
    assert re.search(r"\| Ours \| <b>\+1\.000</b> ▲<br>\[\+0\.\d+, \+1\.\d+\] \|", raw)
    assert "One seed" in page


def test_hole_columns_are_not_counted_and_not_repeated_under_raw_outputs(project: Any) -> None:
    page = ablation_page(findings(project, ["baseline", "sail", "acda"], [0]), SETUP, [])
    pasted, rest = page.split("## Results, raw outputs")
    raw, changes = rest.split("## Differences to baseline")
    assert "Hole PSNR" in pasted
    assert "Hole" not in raw.replace("### Holes of", "")
    assert "Hole ℓ1" in changes
    # PSNR and SSIM up, ℓ1 and the perceptual distance down.
    assert "| w/ SAIL | 2 ▲ · 2 ▼ · 0 open |" in changes
    assert "| w/ ACDA | 0 ▲ · 0 ▼ · 4 open |" in changes
    assert "without hole columns" in changes


def test_marks_of_raw_outputs_are_counted_too(project: Any) -> None:
    """Of w/ SAIL the raw outputs alone fall behind in PSNR and SSIM as well."""
    path = project.scores / "sail-0.csv"
    rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()]
    pasted, metric, value = (rows[0].index(name) for name in ("pasted", "metric", "value"))
    for row in rows[1:]:
        row[value] = str(float(row[value]) - 100 * (row[pasted] == "0" and row[metric] in ("psnr", "ssim")))
    path.write_text("".join(f"{','.join(row)}\n" for row in rows), encoding="utf-8")
    page = ablation_page(findings(project, ["baseline", "sail"], [0]), SETUP, [])
    changes = page[page.index("## Differences to baseline") :]
    first, second = changes.split("The same count of raw outputs")
    assert "| w/ SAIL | 2 ▲ · 2 ▼ · 0 open |" in first
    assert re.search(r"\| w/ SAIL( \| 0 ▲ · 4 ▼ · 0 open)+ \|", second)


def test_true_lpips_is_named_so(project: Any) -> None:
    for path in project.scores.glob("*.csv"):
        path.write_text(path.read_text(encoding="utf-8").replace("lpips_random", "lpips"), encoding="utf-8")
    page = ablation_page(findings(project, ["baseline", "ours"], [0]), SETUP, [])
    assert "LPIPS with the pretrained AlexNet" in page
    assert "| LPIPS ↓ |" in page
    assert "lpips_random" not in page


@pytest.mark.parametrize("enforced", [True, False])
def test_a_failed_gate_warns_in_red_at_the_top(project: Any, enforced: bool) -> None:
    found = findings(project, ["baseline", "ours"], [0], HELD, FAILED, enforced=enforced)
    page = ablation_page(found, SETUP, [])
    warning = page[: page.index("## Results")].split("\n\n")[1]
    assert warning.startswith('> [!CAUTION]\n> <span style="color:#c00000"><b>')
    assert "teacher_over_unet.psnr" in warning
    assert "vae.psnr" not in warning
    assert ("were not enforced" in warning) is not enforced


def test_without_baseline_the_page_says_why_there_are_no_differences(project: Any) -> None:
    page = ablation_page(findings(project, ["sail", "ours"], [0]), SETUP, [])
    assert "None: they need the baseline" in page
    assert "differences.png" not in page


def test_files_are_the_tables_and_the_metrics(project: Any) -> None:
    texts = files(findings(project, ["baseline", "ours"], [0]), SETUP, [])
    assert set(texts) == {"ablation.csv", "differences.csv", "photos.csv", "metrics.json", "ablation.md"}
    assert json.loads(texts["metrics.json"])["ours"]["psnr"] == 10 + 2.5 + 2 + 1.125
    assert "ours,0,10-20,l1,0,6.000000" in texts["ablation.csv"]
    (line,) = re.findall(r"^ours,0,10-20,l1,0,(.*)$", texts["differences.csv"], re.MULTILINE)
    mean, low, high, n = map(float, line.split(","))
    assert low < mean == project.gain("ours", "10-20", "l1") < high
    assert n == 4
    assert "vae" in texts["ablation.csv"]
    assert "vae" not in texts["photos.csv"]
