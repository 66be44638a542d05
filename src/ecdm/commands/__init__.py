"""Subcommands of `ecdm` that use a trained model, one module each."""
