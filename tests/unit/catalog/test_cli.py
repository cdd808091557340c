"""The command as a user runs it: its own process, and a kubeconfig that leads to a server of recorded answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gpu_catalog.slices import build_slices

from .nodes import claim, partitioned, pod


def gpu_catalog(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from gpu_catalog.cli import main; main()", *arguments],
        env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_plan_by_name() -> None:
    done = gpu_catalog("plan", "A100-SXM4-40GB", "all-balanced")

    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "8 x NVIDIA A100-SXM4-40GB  all-balanced"
    assert done.stdout.splitlines()[-1] == "32 slices: 16x 1g.5gb + 8x 2g.10gb + 8x 3g.20gb"


def test_a_plan_by_counts() -> None:
    done = gpu_catalog("plan", "h200", "2x1g.18gb,1x3g.71gb", "--gpus", "1")

    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "3 slices: 2x 1g.18gb + 3g.71gb"


def test_a_plan_from_a_file_shows_gpus_that_differ(tmp_path: Path) -> None:
    file = tmp_path / "layouts.yaml"
    file.write_text(
        "version: v1\n"
        "mig-configs:\n"
        "  mine:\n"
        "  - {devices: [0, 1], mig-enabled: true, mig-devices: {3g.20gb: 2}}\n"
        "  - {devices: [2], mig-enabled: false}\n",
        encoding="utf-8",
    )

    done = gpu_catalog("plan", "a100-sxm4-40gb", "mine", "--gpus", "4", "--config-file", str(file))

    assert [line.split("│")[0].strip() for line in done.stdout.splitlines()[1:-1:2]] == ["gpu-0..1", "gpu-2", "gpu-3"]
    assert "left as it is" in done.stdout
    assert done.stdout.splitlines()[-1] == "4 slices: 4x 3g.20gb"


def test_boards_are_listed_and_shown() -> None:
    assert "a100-sxm4-40gb" in gpu_catalog("boards").stdout
    assert gpu_catalog("boards", "t4").stdout.startswith("Tesla T4  Turing, 15360 MiB")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            ["plan", "a100-sxm4-40gb", "2x4g.20gb"],
            ("4g.20gb + 4g.20gb do not fit one A100-SXM4-40GB: 4g.20gb needs units 0-3, which the first 4g.20gb takes"),
        ),
        (["plan", "a100-sxm4-40gb", "all-balance"], "unknown MIG layout 'all-balance', nearest: all-balanced"),
        (["plan", "l4", "all-balanced"], "all-balanced leaves NVIDIA L4 as it is: it has no MIG"),
        (["plan", "h100", "all-balanced"], "its entries are for other boards, and this one is 0x"),
        (["plan", "t4", "2x1g.5gb"], "Tesla T4 has no MIG, so it cannot be split into '1g.5gb'"),
        (["plan", "a100", "all-balanced"], "unknown board 'a100', nearest: a100-80gb-pcie"),
        (["plan", "h200", "mine", "--config-file", "nowhere.yaml"], "No such file or directory: 'nowhere.yaml'"),
        (["boards", "h2000"], "unknown board 'h2000', nearest: h200"),
        (["show", "--kubeconfig", "nowhere"], "cannot use kubeconfig nowhere: Configuration file nowhere not found"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(arguments: list[str], error: str) -> None:
    done = gpu_catalog(*arguments)

    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("gpu-catalog: ")
    assert error in line


@dataclass
class Answers:
    """What the server answers by path; anything else is not found."""

    address: str = ""
    lists: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    status: int = 200

    def kubeconfig(self, folder: Path) -> Path:
        file = folder / "kubeconfig"
        file.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "c", "cluster": {"server": self.address}}],
                    "users": [{"name": "u", "user": {"token": "t"}}],
                    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                    "current-context": "x",
                }
            ),
            encoding="utf-8",
        )
        return file


@pytest.fixture
def server() -> Iterator[Answers]:
    answers = Answers()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            items = answers.lists.get(self.path.partition("?")[0])
            status = answers.status if items is not None else 404
            body: dict[str, Any] = {"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items}
            if status != 200:
                body = {"kind": "Status", "status": "Failure", "message": f"answer {status}", "code": status}
            payload = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        answers.address = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield answers
        http.shutdown()
        thread.join()


def test_show_draws_the_cluster(server: Answers, tmp_path: Path) -> None:
    slices = build_slices("gpu.nvidia.com", "node-a", "uid", 1, partitioned(0))
    server.lists = {
        "/apis/resource.k8s.io/v1/resourceslices": list(slices),
        "/apis/resource.k8s.io/v1/resourceclaims": [claim("train-gpu", "gpu-0-mig-3g20gb-9-4", pods=("train",))],
        "/api/v1/pods": [pod("train", "train-gpu")],
    }

    done = gpu_catalog("show", KUBECONFIG=str(server.kubeconfig(tmp_path)))

    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[0] == "node-a  1 x NVIDIA A100-SXM4-40GB, 4 devices, 1 held"
    assert [part.strip() for part in lines[1].split("│")] == ["gpu-0", "1g.5gb", "1g.5gb", "2g.10gb", "3g.20gb", ""]
    assert [part.strip() for part in lines[2].split("│")] == ["", "free", "free", "free", "train", ""]
    assert lines[-1].split() == ["train", "train-gpu", "gpu-0-mig-3g20gb-9-4", "Running"]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, "does not serve resource.k8s.io/v1: Kubernetes 1.34 or later is needed"),
        (403, "refused to list devices, claims or pods: answer 403"),
    ],
)
def test_show_says_why_a_cluster_cannot_be_read(server: Answers, tmp_path: Path, status: int, error: str) -> None:
    server.lists, server.status = {"/apis/resource.k8s.io/v1/resourceslices": []}, status

    done = gpu_catalog("show", "--kubeconfig", str(server.kubeconfig(tmp_path)))

    assert (done.returncode, done.stderr) == (2, f"gpu-catalog: {server.address} {error}\n")


def test_show_says_that_nothing_listens(tmp_path: Path) -> None:
    done = gpu_catalog("show", "--kubeconfig", str(Answers("http://127.0.0.1:9").kubeconfig(tmp_path)))

    assert done.returncode == 2
    assert done.stderr.startswith("gpu-catalog: cannot reach http://127.0.0.1:9: ")


@pytest.mark.parametrize("text", ["", "[", "clusters: 3", "{}", "current-context: gone\nclusters: []\ncontexts: []\n"])
def test_show_says_that_a_kubeconfig_is_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(text, encoding="utf-8")

    done = gpu_catalog("show", "--kubeconfig", str(file))

    assert done.returncode == 2
    assert done.stderr.startswith(f"gpu-catalog: cannot use kubeconfig {file}: ")
    assert len(done.stderr.splitlines()) == 1
