"""Metrics in Prometheus' text format, under the names of NVIDIA's driver, failures counted as well as successes.

Owns counting and the HTTP page. Needs no client library: three kinds of values and one format. Never blocks a claim.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from gpu_dra_driver import DRIVER_NAME

_BUCKETS = tuple(
    0.005 * 2**power for power in range(12)
)  # 5 ms to 10 s: NVIDIA's 50 ms steps begin above a whole prepare here

_HELP = {
    "nvidia_dra_requests_total": ("counter", "Calls from kubelet, failed ones included."),
    "nvidia_dra_requests_inflight": ("gauge", "Calls from kubelet being worked on."),
    "nvidia_dra_request_duration_seconds": ("histogram", "Duration of calls from kubelet, failed ones included."),
    "nvidia_dra_prepared_devices": ("gauge", "Devices prepared for claims."),
    "nvidia_dra_node_prepare_errors_total": (
        "counter",
        "Claims that could not be prepared, and publishing that failed.",
    ),
    "nvidia_dra_node_unprepare_errors_total": ("counter", "Claims that could not be unprepared."),
    "gpu_dra_driver_gpu_problems": ("gauge", "GPUs that offer no device."),
    "gpu_dra_driver_layout_gpus": ("gauge", "GPUs by how the declared MIG layout stands on them."),
}

Labels = tuple[tuple[str, str], ...]
Gauges = Callable[[], Mapping[str, Mapping[Labels, float]]]


class Metrics:
    """All values of this process. `gauges` is asked at each scrape for what other parts know."""

    def __init__(self, node_name: str, gauges: Gauges) -> None:
        self._node = node_name
        self._gauges = gauges
        self._lock = threading.Lock()
        self._values: dict[str, dict[Labels, float]] = {}
        self._durations: dict[Labels, list[float]] = {}

    def _add(self, name: str, amount: float, **labels: str) -> None:
        key = tuple(sorted(labels.items()))
        with self._lock:
            series = self._values.setdefault(name, {})
            series[key] = series.get(key, 0.0) + amount

    @contextmanager
    def request(self, operation: str) -> Iterator[None]:
        """Counts and times one call, `operation` being prepare or unprepare."""
        labels = {"driver": DRIVER_NAME, "operation": operation}
        self._add("nvidia_dra_requests_inflight", 1, **labels)
        begin = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - begin
            self._add("nvidia_dra_requests_inflight", -1, **labels)
            self._add("nvidia_dra_requests_total", 1, **labels)
            with self._lock:
                row = self._durations.setdefault(tuple(sorted(labels.items())), [0.0] * (len(_BUCKETS) + 2))
                for index, bound in enumerate(_BUCKETS):
                    row[index] += seconds <= bound
                row[-2] += 1
                row[-1] += seconds

    def prepare_failed(self) -> None:
        """A claim could not be prepared."""
        self._add("nvidia_dra_node_prepare_errors_total", 1, driver=DRIVER_NAME, error_type="prepare_devices")

    def unprepare_failed(self) -> None:
        """A claim could not be unprepared."""
        self._add("nvidia_dra_node_unprepare_errors_total", 1, driver=DRIVER_NAME, error_type="unprepare_devices")

    def publish_failed(self) -> None:
        """Slices could not be written or watched."""
        self._add("nvidia_dra_node_prepare_errors_total", 1, driver=DRIVER_NAME, error_type="publish_resources")

    def text(self) -> str:
        """The page."""
        with self._lock:
            values = {name: dict(series) for name, series in self._values.items()}
            durations = {labels: list(row) for labels, row in self._durations.items()}
        for name, series in self._gauges().items():
            values[name] = {(*labels, ("node", self._node)): value for labels, value in series.items()}
        lines: list[str] = []
        for name, (kind, text) in _HELP.items():
            rows = [_line(name, labels, value) for labels, value in sorted(values.get(name, {}).items())]
            if kind == "histogram":
                rows = [row for labels, counts in sorted(durations.items()) for row in _histogram(name, labels, counts)]
            if rows:
                lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}", *rows]
        return "\n".join([*lines, ""])


def _line(name: str, labels: Labels, value: float) -> str:
    inside = ",".join(f'{key}="{_escape(text)}"' for key, text in labels)
    return f"{name}{{{inside}}} {value:g}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _histogram(name: str, labels: Labels, row: list[float]) -> Iterator[str]:
    for bound, count in zip(_BUCKETS, row, strict=False):
        yield _line(f"{name}_bucket", (*labels, ("le", f"{bound:g}")), count)
    yield _line(f"{name}_bucket", (*labels, ("le", "+Inf")), row[-2])
    yield _line(f"{name}_sum", labels, row[-1])
    yield _line(f"{name}_count", labels, row[-2])


def serve(metrics: Metrics, address: tuple[str, int], path: str) -> Callable[[], None]:
    """Serves the page from a thread of its own; returns what stops it. Raises OSError when the address cannot be had."""
    # Imported here: most of the standard library's web server, for a page that is off by default.
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer  # noqa: PLC0415

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.partition("?")[0] != path:
                self.send_error(404)
                return
            body = metrics.text().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Scrapes are not events."""

    server = ThreadingHTTPServer(address, Page)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return stop
