"""A trained variant as an MLflow model: an exported folder and the package's code, and no pickle."""

from __future__ import annotations

import io
import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.pyfunc import PythonModel

import ecdm
from ecdm.serving.manifest import LARGEST_SEED
from ecdm.serving.picture import Picture, inpaint_picture, load_hole, load_picture, png
from ecdm.serving.pipeline import INDEX, InpaintPipeline

if TYPE_CHECKING:
    from mlflow.models import Model, ModelSignature

ARTIFACT = "model"
CODE = Path(__file__).with_name("model_code.py")
# What the pipeline imports; the package itself goes with the model.
REQUIRED = (
    "mlflow", "torch", "diffusers", "transformers", "tokenizers", "safetensors", "numpy", "pandas", "pillow",
    "opencv-python-headless", "scikit-image", "pydantic", "ruamel.yaml", "tqdm",
)  # fmt: skip


class InpaintModel(PythonModel):
    """Fills the holes of pictures: image files in, PNG files out, as `ecdm inpaint` does."""

    def load_context(self, context: Any) -> None:
        """Read the exported folder among the model's artifacts."""
        self.pipeline = InpaintPipeline.from_pretrained(Path(context.artifacts[ARTIFACT]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[bytes]:
        """One PNG for each row of image, mask (bytes of image files, hole where white) and prompt.

        `params`: seed, the same for every row, so that no row depends on the others; steps; guidance.
        Raises: ValueError naming the row and what cannot be read or does not fit.
        """
        given = params or {}
        seed = given.get("seed", 0)
        if not 0 <= seed <= LARGEST_SEED:
            raise ValueError(f"seed: found {seed}, expected 0 to {LARGEST_SEED}")
        filled = []
        rows = zip(model_input["image"], model_input["mask"], model_input["prompt"], strict=True)
        for number, (image, mask, prompt) in enumerate(rows, start=1):
            picture = load_picture(io.BytesIO(image), f"row {number}: image")
            hole = load_hole(io.BytesIO(mask), picture, f"row {number}: mask")
            sampling = given.get("steps"), given.get("guidance")
            filled.append(png(inpaint_picture(self.pipeline, picture, hole, prompt, seed, *sampling)))
        return filled


def write_model(export: Path, output: Path, model: Model) -> None:
    """Write the MLflow model of an exported folder, called `ARTIFACT`, to the new folder `output`."""
    pins = [f"{name}=={version(name).partition('+')[0]}" for name in REQUIRED]
    mlflow.pyfunc.save_model(
        output,
        python_model=str(CODE),
        code_paths=[str(Path(ecdm.__file__).parent)],
        artifacts={ARTIFACT: str(export)},
        signature=_signature(export),
        input_example=example(),
        pip_requirements=pins,
        mlflow_model=model,
    )


def example() -> pd.DataFrame:
    """A row to try: a gray ramp of 64 px with a square hole."""
    ramp = np.broadcast_to(np.arange(0, 256, 4, dtype=np.uint8)[:, None], (64, 64, 3))
    hole = np.zeros((64, 64, 3), np.uint8)
    hole[20:44, 20:44] = 255
    return pd.DataFrame([{"image": png(Picture(ramp)), "mask": png(Picture(hole)), "prompt": "a red circle"}])


def _signature(export: Path) -> ModelSignature:
    """Columns image, mask (binary) and prompt; parameters seed, steps and guidance; a binary column comes back.

    The export's own settings are the defaults. Binary columns travel through JSON as base64.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

    index = json.loads((export / INDEX).read_text(encoding="utf-8"))
    columns = {"image": DataType.binary, "mask": DataType.binary, "prompt": DataType.string}
    inputs: list[ColSpec | TensorSpec] = [ColSpec(kind, name) for name, kind in columns.items()]
    params = [
        ParamSpec("seed", DataType.long, 0),
        ParamSpec("steps", DataType.long, index["steps"]),
        ParamSpec("guidance", DataType.double, float(index["guidance"])),
    ]
    return ModelSignature(Schema(inputs), Schema([ColSpec(DataType.binary)]), ParamSchema(params))
