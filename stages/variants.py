"""Write down what each variant really uses, so that a change reruns its users alone; clear away other variants."""

from __future__ import annotations

import shutil
from pathlib import Path

from ecdm.config import Params, load_params, variant_settings
from ecdm.data.files import fresh_folder
from ecdm.models.variants import VARIANTS
from ecdm.stage import run

BUILD = Path("build")
SETTINGS = BUILD / "variants"


def clear(build: Path, params: Params) -> None:
    """Remove from the folders that gates and report read what belongs to no variant and seed of params.yaml.

    Else their inputs, and with them dvc.lock, would depend on what was reproduced here before.
    """
    names = {f"{variant}-{seed}" for variant in params.variants for seed in params.seeds}
    for folder, ending in (("train", ""), ("probe", ".json"), ("generate", ""), ("scores", ".csv")):
        kept = {f"{name}{ending}" for name in names} | ({"reference.csv"} if folder == "scores" else set())
        for path in [path for path in (build / folder).glob("*") if path.name not in kept]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def main() -> None:
    """params.yaml → build/variants/<variant>.yaml; outputs of other variants and seeds are removed from build/."""
    params = load_params()
    with fresh_folder(SETTINGS) as folder:
        for name in params.variants:
            variant = VARIANTS[name]
            text = variant_settings(name, params.sail, params.acda, variant.sail, variant.acda)
            (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    clear(BUILD, params)


if __name__ == "__main__":
    run("variants", main)
