"""Measure data and foundation on held-out images, for the gates."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from ecdm.config import load_params
from ecdm.data.dataset import image_tensor
from ecdm.data.files import fresh_folder, save_png
from ecdm.data.sheets import sheet
from ecdm.evaluation.audit import Audit
from ecdm.evaluation.jobs import Job
from ecdm.models.classifier import AttributeClassifier
from ecdm.models.foundation import load_foundation
from ecdm.models.perceptual import load_perceptual
from ecdm.numerics.buckets import largest_bucket
from ecdm.stage import run

SCENES, MASKS, EDGES = Path("data/scenes"), Path("build/masks"), Path("build/edges/scenes")
FOUNDATION, TARGET = Path("build/foundation"), Path("build/audit")
# Splits nothing was trained on; what has to be sampled, the larger one alone shows.
HELD_OUT, COMPARED = ("validation", "test"), "validation"


def main() -> None:
    """data/scenes, build/{masks,edges,foundation} → build/audit: values.json and sheets of samples."""
    params = load_params()
    parts, classifier = load_foundation(FOUNDATION), AttributeClassifier.load(FOUNDATION / "classifier")
    distance, batch, bucket = params.evaluate.perceptual, params.gates.batch, largest_bucket(params.masks.buckets)
    net, size = load_perceptual(distance), params.data.size
    audit = Audit(parts, classifier, params.generate, distance, net, params.seed, size)
    work = [Job(COMPARED, bucket, SCENES, MASKS / COMPARED, EDGES / COMPARED, COMPARED)]
    scenes = audit.single_scenes(params.gates.images)
    true = torch.stack([image_tensor(scene.image) for scene in scenes])
    text, fills = audit.text_to_image(scenes, batch), audit.object_inpainting(scenes, batch)
    values = {
        "spectral_share": audit.shares(SCENES, HELD_OUT),
        "vae_psnr": audit.reconstruction(SCENES, HELD_OUT, batch),
        "attributes": {
            kind: audit.attributes(scenes, images)
            for kind, images in (("true", true), ("text", text), ("inpainting", fills))
        },
        "compared": audit.compare(work, batch),
    }
    with fresh_folder(TARGET) as folder:
        (folder / "values.json").write_text(json.dumps(values) + "\n", encoding="utf-8")
        save_png(folder / "samples.png", sheet([true[:12], text[:12], fills[:12]]))


if __name__ == "__main__":
    run("audit", main)
