"""Write down what each variant really uses, so that a change reruns those that use it and no other."""

from __future__ import annotations

from pathlib import Path

from ecdm.config import load_params, variant_settings
from ecdm.data.files import fresh_folder
from ecdm.models.variants import VARIANTS
from ecdm.stage import run

SETTINGS = Path("build/variants")


def main() -> None:
    """params.yaml → build/variants/<variant>.yaml."""
    params = load_params()
    with fresh_folder(SETTINGS) as folder:
        for name in params.variants:
            variant = VARIANTS[name]
            text = variant_settings(name, params.sail, params.acda, variant.sail, variant.acda)
            (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run("variants", main)
