"""Bring one network of the published methods to build/networks: bundled, freshly trained, or a pretrained one."""

from __future__ import annotations

import argparse
from pathlib import Path

from ecdm.config import load_params
from ecdm.data.files import keep_only
from ecdm.models.weights import write_network
from ecdm.stage import run
from ecdm.training.network_bundle import NetworkBundle, copy_network
from ecdm.training.progress import Progress

BUNDLED, WORK, TARGET = Path("assets/networks"), Path("build/pretrain_networks"), Path("build/networks")
FOUNDATION = Path("build/foundation")


def main(name: str) -> None:
    """networks.source, build/foundation → build/networks/<name>, checked."""
    params = load_params()
    if name not in params.networks.names:
        raise ValueError(f"network: found {name!r}, expected one of networks.names, {', '.join(params.networks.names)}")
    # The methods' stages depend on the folder of all networks.
    keep_only(TARGET, set(params.networks.names))
    if params.networks.source == "pretrained":
        write_network(params.networks, name, FOUNDATION, TARGET / name)
        return
    folder = BUNDLED / name
    if params.networks.source == "train":
        size, workers, fits = params.data.size, params.data.workers, params.networks.pretrain
        with Progress() as progress:
            bundle = NetworkBundle(fits, params.pretrain, size, workers, FOUNDATION, WORK, progress.report)
            folder = bundle.train(name)
    copy_network(name, folder, TARGET / name, FOUNDATION)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="one of networks.names")
    arguments = parser.parse_args()
    run(f"networks@{arguments.name}", lambda: main(arguments.name))
