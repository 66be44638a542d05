"""Cache the autoencoder's moments of every training and validation image."""

from __future__ import annotations

from pathlib import Path

from ecdm.config import load_params
from ecdm.data.engine import Engine
from ecdm.data.files import fresh_folder
from ecdm.models.foundation import at_once
from ecdm.stage import run
from ecdm.training.latents import write_moments

DATA, FOUNDATION, LATENTS = Path("data"), Path("build/foundation"), Path("build/latents")


def main() -> None:
    """data/<source>, build/foundation → build/latents/{train,validation}.safetensors."""
    params = load_params()
    data, engine = DATA / params.data.source, Engine(params.prepare.engine, params.data.workers)
    batch = at_once(params.data.size)
    with fresh_folder(LATENTS) as folder:
        for split in ("train", "validation"):
            write_moments(data, split, FOUNDATION, folder / f"{split}.safetensors", batch, engine)


if __name__ == "__main__":
    run("latents", main)
