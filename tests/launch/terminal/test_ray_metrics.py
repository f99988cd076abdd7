"""A run's metrics, scraped from the endpoint of a real Ray cluster as Prometheus would."""

from __future__ import annotations

import logging
import re
import socket
import threading
import time
import urllib.error
import urllib.request

import pytest

from gristmill.launch.terminal.ray_metrics import RayMetrics, values
from tests.launch.terminal.test_progress import Run, told


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def scraped(url: str) -> dict[tuple[str, str], float]:
    """(name, stage) → value of the gauges of Gristmill; nothing while there is no answer."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            body = answer.read().decode()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return {}
    found = {}
    for line in body.splitlines():
        matched = re.match(r"ray_gristmill_(\w+)\{(.*)\} (\S+)$", line)
        if matched:
            labels = dict(re.findall(r'(\w+)="([^"]*)"', matched[2]))
            assert labels["run"] == "web"
            found[matched[1], labels.get("stage", "")] = float(matched[3])
    return found


def test_what_is_not_known_is_not_told() -> None:
    assert "left_seconds" not in values(told(0)) and "bytes_per_second" not in values(told(0))
    assert values(told(3))["left_seconds"] == 36.0


@pytest.mark.ray
def test_gauges_are_at_rays_endpoint() -> None:
    import ray

    port, run = free_port(), Run()
    run.status = told(7, slow=2, failed=1)
    ray.init(
        num_cpus=1, address="local", include_dashboard=False, _metrics_export_port=port, object_store_memory=100 << 20,
        logging_level=logging.ERROR, log_to_driver=False, _system_config={"metrics_report_interval_ms": 500},
    )  # fmt: skip
    try:
        url = f"http://{ray.util.get_node_ip_address()}:{port}/metrics"
        with RayMetrics() as metrics:
            metrics.follow(run)
            until = time.monotonic() + 120
            found: dict[tuple[str, str], float] = {}
            while time.monotonic() < until and len(found) < 16:
                threading.Event().wait(0.5)
                found = scraped(url)
    finally:
        ray.shutdown()
    assert found["tasks_done", ""] == 7
    assert (found["tasks_slow", ""], found["tasks_failed", ""]) == (2, 1)
    assert found["left_seconds", ""] == 36
    assert {name: found[f"documents_{name}", "quality"] for name in ("entered", "emitted", "dropped")} == {
        "entered": 700, "emitted": 560, "dropped": 140
    }  # fmt: skip
