"""Measure data and foundation on held-out images, for the gates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ecdm.config import load_params
from ecdm.data.files import fresh_folder, save_png
from ecdm.data.sheets import sheet
from ecdm.evaluation.audit import Audit
from ecdm.evaluation.items import SingleItems
from ecdm.evaluation.jobs import Job
from ecdm.models.classifier import AttributeClassifier
from ecdm.models.foundation import load_foundation
from ecdm.models.perceptual import load_perceptual
from ecdm.models.precision import default_device
from ecdm.numerics.buckets import largest_bucket
from ecdm.stage import run

DATA, MASKS, EDGES = Path("data"), Path("build/masks"), Path("build/edges")
FOUNDATION, TARGET = Path("build/foundation"), Path("build/audit")
# Splits nothing was trained on; what has to be sampled, the larger one alone shows.
HELD_OUT, COMPARED = ("validation", "test"), "validation"
SHOWN = 12


def main() -> None:
    """data/<source>, build/{masks,edges,foundation} → build/audit: values.json and a sheet of samples."""
    params = load_params()
    distance, batch, bucket = params.evaluate.perceptual, params.gates.batch, largest_bucket(params.masks.buckets)
    parts, data = load_foundation(FOUNDATION).to(default_device()), DATA / params.data.source
    net, size = load_perceptual(distance).to(default_device()), params.data.size
    audit = Audit(parts, params.generate, distance, net, params.seed, size, params.gates.held_out)
    edges = EDGES / params.data.source / COMPARED
    values: dict[str, Any] = {
        "spectral_share": audit.shares(data, HELD_OUT),
        "vae_psnr": audit.reconstruction(data, HELD_OUT, batch),
        "attributes": None,
        "compared": audit.compare(Job(COMPARED, bucket, data, MASKS / COMPARED, edges, COMPARED), batch),
    }
    with fresh_folder(TARGET) as folder:
        # Captions can be held against samples where they are the scenes', by the classifier of their items.
        if params.data.source == "scenes" and params.foundation.source != "pretrained":
            items = SingleItems(audit, AttributeClassifier.load(FOUNDATION / "classifier"))
            values["attributes"], rows = items.judged(params.gates.images, batch)
            save_png(folder / "samples.png", sheet([images[:SHOWN] for images in rows]))
        (folder / "values.json").write_text(json.dumps(values) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run("audit", main)
