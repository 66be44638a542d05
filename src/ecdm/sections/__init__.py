"""The sections of params.yaml as frozen models, each with the bounds of its own values."""
