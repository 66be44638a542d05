"""The subcommands of `ecdm`, and what several of them share."""
