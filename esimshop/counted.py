"""What the processes of this machine counted, for Prometheus."""

from __future__ import annotations

import os

from prometheus_client import REGISTRY, CollectorRegistry, multiprocess


def counted_here() -> CollectorRegistry:
    """What all processes counted that share PROMETHEUS_MULTIPROC_DIR, or this one alone where there is no folder."""
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return REGISTRY
    processes = CollectorRegistry()
    multiprocess.MultiProcessCollector(processes)  # type: ignore[no-untyped-call]
    return processes
