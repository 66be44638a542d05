"""The address that pages are served on, this machine alone."""

from __future__ import annotations

import socket

HOST = "127.0.0.1"


def require_free(port: int) -> None:
    """ValueError for what is no port, and for one that somebody listens on."""
    if not 0 < port < 65536:
        raise ValueError(f"--port: found {port}, expected 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ValueError(
                f"--port: found {port} on {HOST} in use, expected a free one ({error.strerror})"
            ) from error
