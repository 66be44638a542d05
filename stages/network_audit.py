"""Measure the embedded networks of the published methods on held-out scenes, for the gates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from ecdm.config import load_params
from ecdm.data.files import fresh_folder, save_png
from ecdm.data.sheets import sheet
from ecdm.evaluation.network_audit import NetworkAudit
from ecdm.models.classifier import AttributeClassifier
from ecdm.models.foundation import load_foundation
from ecdm.models.precision import default_device
from ecdm.stage import run

BUILD = Path("build")
FOUNDATION, NETWORKS, TARGET = BUILD / "foundation", BUILD / "networks", BUILD / "network_audit"
CLASSIFIER = FOUNDATION / "classifier"
SHOWN = 12


def main() -> None:
    """build/{foundation,networks} → build/network_audit: values.json and a sheet of samples.

    Pretrained networks are not held against scenes, and without a foundation's classifier nothing can judge samples: of
    these nothing is measured.
    """
    params = load_params()
    names, precision = params.networks.names, params.generate.precision
    values: dict[str, Any] = {}
    rows: list[Tensor] = []
    if params.networks.source != "pretrained" and CLASSIFIER.is_dir():
        parts, classifier = load_foundation(FOUNDATION).to(default_device()), AttributeClassifier.load(CLASSIFIER)
        audit = NetworkAudit(parts, classifier, NETWORKS, params.compare, precision, params.seed, params.data.size)
        values, rows = audit.measured(names, params.gates.images, params.gates.batch)
    with fresh_folder(TARGET) as folder:
        if rows:
            save_png(folder / "samples.png", sheet([images[:SHOWN] for images in rows]))
        (folder / "values.json").write_text(json.dumps(values) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run("network_audit", main)
