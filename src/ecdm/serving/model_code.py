"""What MLflow runs to load a logged model; it keeps a copy of this file with every model, and nothing imports it."""

from __future__ import annotations

from mlflow.models import set_model

from ecdm.serving.model import InpaintModel

set_model(InpaintModel())
