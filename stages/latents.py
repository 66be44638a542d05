"""Cache the autoencoder's moments of every training and validation image."""

from __future__ import annotations

from pathlib import Path

from ecdm.data.files import fresh_folder
from ecdm.models.foundation import load_foundation
from ecdm.stage import run
from ecdm.training.latents import write_moments

DATA, FOUNDATION, LATENTS = Path("data/scenes"), Path("build/foundation"), Path("build/latents")
BATCH = 32


def main() -> None:
    """data/scenes, build/foundation → build/latents/{train,validation}.safetensors."""
    components = load_foundation(FOUNDATION)
    with fresh_folder(LATENTS) as folder:
        for split in ("train", "validation"):
            write_moments(DATA, split, components, folder / f"{split}.safetensors", BATCH)


if __name__ == "__main__":
    run("latents", main)
