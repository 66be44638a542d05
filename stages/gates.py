"""Hold the quality gates against what was measured; a failed one ends the pipeline unless params say otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ecdm.config import load_params
from ecdm.evaluation.gates import Judge, as_json, as_table
from ecdm.numerics.buckets import largest_bucket
from ecdm.stage import run

BUILD, REPORT = Path("build"), Path("reports/gates.json")
AUDIT, NETWORKS, PROBE = BUILD / "audit" / "values.json", BUILD / "network_audit" / "values.json", BUILD / "probe"


def main() -> None:
    """build/{audit,network_audit,probe} → reports/gates.json."""
    params = load_params()
    judge = Judge(params.seed, params.evaluate.resamples, params.evaluate.level)
    found: dict[str, Any] = json.loads(AUDIT.read_text(encoding="utf-8"))
    shown, compared = found["attributes"], found["compared"]
    distance, bucket = params.evaluate.perceptual, largest_bucket(params.masks.buckets)
    fills = ("mean_fill", "telea", "navier_stokes")
    gates = judge.data(found["spectral_share"]) if params.data.source == "scenes" else {}
    gates |= judge.vae(found["vae_psnr"])
    if shown is not None:
        gates |= judge.attributes("text_to_image", shown["text"], shown["true"])
        gates |= judge.attributes("inpainting", shown["inpainting"], shown["true"])
    gates |= judge.better(compared, "teacher", ("unet", "untuned"), ("psnr", "ssim"), bucket)
    gates |= judge.better(compared, "untuned", fills, (distance,), bucket)
    networks: dict[str, Any] = json.loads(NETWORKS.read_text(encoding="utf-8"))
    gates |= judge.networks(networks) if networks else {}
    for variant in params.variants:
        for seed in params.seeds:
            probe = json.loads((PROBE / f"{variant}-{seed}.json").read_text(encoding="utf-8"))
            gates |= judge.acda(f"{variant}-{seed}", probe) if probe else {}
    REPORT.parent.mkdir(exist_ok=True)
    content = {"enforced": params.gates.enforce, "gates": as_json(gates)}
    REPORT.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(as_table(gates))
    failed = [name for name, gate in gates.items() if not gate.holds]
    if failed and params.gates.enforce:
        raise ValueError(f"{len(failed)} of {len(gates)} do not hold ({', '.join(failed)}); gates.enforce is true")


if __name__ == "__main__":
    run("gates", main)
