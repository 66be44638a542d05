"""Write down what each variant really uses, so that a change reruns its users alone; clear away other variants."""

from __future__ import annotations

from pathlib import Path

from ecdm.config import Params, load_params, variant_settings
from ecdm.data.files import fresh_folder, keep_only
from ecdm.models.variants import VARIANTS
from ecdm.stage import run

BUILD = Path("build")
SETTINGS = BUILD / "variants"


def clear(build: Path, params: Params) -> None:
    """Remove from the folders that later stages read whole what belongs to no run of params.yaml.

    Else their inputs, and with them dvc.lock, would depend on what was reproduced here before.
    """
    trained = {f"{variant}-{seed}" for variant in params.variants for seed in params.seeds}
    datasets = (params.data.source, params.data.second.source)
    rivals = {f"{name}-{one}" for name in (*params.compare.methods, params.compare.variant.name) for one in datasets}
    for folder, names, ending in (
        ("train", trained, ""),
        ("probe", trained, ".json"),
        ("generate", trained, ""),
        ("scores", {*trained, "reference"}, ".csv"),
        ("compare", rivals, ""),
        ("compared", rivals, ".csv"),
    ):
        keep_only(build / folder, {f"{name}{ending}" for name in names})


def main() -> None:
    """params.yaml → build/variants/<variant>.yaml; outputs of other runs are removed from build/."""
    params = load_params()
    with fresh_folder(SETTINGS) as folder:
        for name in params.variants:
            variant = VARIANTS[name]
            text = variant_settings(name, params.sail, params.acda, variant.sail, variant.acda)
            (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    clear(BUILD, params)


if __name__ == "__main__":
    run("variants", main)
