"""What the machine is busy with, under MLflow's names for system metrics."""

from __future__ import annotations

import time
from typing import Any


class SystemMetrics:
    """Load of processor, memory, disk, network and, where NVIDIA's driver has any, of the GPUs.

    MLflow's own monitors measure; its thread is left out, because it would talk to the server on its own, with
    its own retries and warnings, while the server is down.
    """

    def __init__(self, every: float = 10.0) -> None:
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
        from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

        self.every, self.due = every, time.monotonic()
        self.monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
        try:
            self.monitors.append(GPUMonitor())
        except RuntimeError:
            return  # no NVIDIA driver, so no GPU

    def __call__(self) -> dict[str, float]:
        """Numbers by name, `system/…`; none where the last ones are younger than `every` seconds."""
        if time.monotonic() < self.due:
            return {}
        self.due = time.monotonic() + self.every
        found: dict[str, float] = {}
        for monitor in self.monitors:
            monitor.collect_metrics()
            found |= {f"system/{name}": float(value) for name, value in monitor.aggregate_metrics().items()}
            monitor.clear_metrics()
        return found
