"""Finding what a container needs in driver installations of different shapes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpu_dra_driver.cdi import SpecBuilder, SpecFiles, device_id
from gpu_dra_driver.discovery import (
    DeviceNodes,
    File,
    LibraryNotFoundError,
    Link,
    MissingDeviceError,
    discover,
    find_library,
    sockets,
)
from gpu_dra_driver.inventory import Device, Partition
from gpu_dra_driver.nvml import LibraryUnusableError, Nvml
from gpu_dra_driver.paths import Root, resolve_inside
from tests.simulated_gpus import SimulatedGpus

VERSION = "580.126.20"
HOST = Path("/run/nvidia/driver")


def tree(root: Path, *entries: str) -> Root:
    """Makes files (`a/b`) and symbolic links (`a/b -> target`) below root; returns it as mounted from the host."""
    for entry in entries:
        name, arrow, target = entry.partition(" -> ")
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target) if arrow else path.write_text("")
    return Root(HOST, root)


LIB = "usr/lib64"


class TestInstallation:
    def test_libraries_of_this_driver_only_with_their_links(self, tmp_path: Path) -> None:
        root = tree(
            tmp_path,
            f"{LIB}/libcuda.so.{VERSION}", f"{LIB}/libcuda.so.1 -> libcuda.so.{VERSION}", f"{LIB}/libcuda.so -> libcuda.so.1",
            f"{LIB}/libnvidia-ml.so.{VERSION}", f"{LIB}/libnvidia-old.so.570.1.1", f"{LIB}/libc.so.6", f"{LIB}/vdpau/libvdpau_nvidia.so.{VERSION}",
        )  # fmt: skip
        found = discover(root, VERSION)
        assert found.libraries == tuple(
            File(f"{HOST}/{name}", f"/{name}")
            for name in (
                f"{LIB}/libcuda.so.{VERSION}",
                f"{LIB}/libnvidia-ml.so.{VERSION}",
                f"{LIB}/vdpau/libvdpau_nvidia.so.{VERSION}",
            )
        )
        assert set(found.links) == {
            Link(f"libcuda.so.{VERSION}", f"/{LIB}/libcuda.so"),
            Link(f"libcuda.so.{VERSION}", f"/{LIB}/libcuda.so.1"),
        }
        assert found.cuda_library_dir == f"/{LIB}"
        assert found.library_dirs == (f"/{LIB}", f"/{LIB}/vdpau")

    def test_links_are_followed_inside_the_installation(self, tmp_path: Path) -> None:
        """An absolute link means from the root of the installation; outside, the same path is another file or none."""
        root = tree(
            tmp_path, f"opt/nv/libcuda.so.{VERSION}", f"{LIB}/libcuda.so.{VERSION} -> /opt/nv/libcuda.so.{VERSION}", f"{LIB}/libbad.so.{VERSION} -> /nowhere"
        )  # fmt: skip
        assert discover(root, VERSION).libraries == (
            File(f"{HOST}/opt/nv/libcuda.so.{VERSION}", f"/{LIB}/libcuda.so.{VERSION}"),
        )

    def test_a_folder_with_two_names_is_searched_once(self, tmp_path: Path) -> None:
        root = tree(tmp_path, f"{LIB}/libcuda.so.{VERSION}", "lib64 -> usr/lib64")
        assert len(discover(root, VERSION).libraries) == 1

    def test_binaries_firmware_sockets_and_the_hook(self, tmp_path: Path) -> None:
        root = tree(
            tmp_path, "usr/bin/nvidia-smi", "usr/sbin/nvidia-persistenced", "usr/bin/bash", f"lib/firmware/nvidia/{VERSION}/gsp_ga10x.bin",
            "lib/firmware/nvidia/1.2.3/gsp_ga10x.bin", "run/nvidia-persistenced/socket", "usr/bin/nvidia-cdi-hook",
        )  # fmt: skip
        found = discover(root, VERSION)
        assert [file.container for file in found.binaries] == ["/usr/bin/nvidia-smi", "/usr/sbin/nvidia-persistenced"]
        assert [file.host for file in found.firmware] == [f"{HOST}/lib/firmware/nvidia/{VERSION}/gsp_ga10x.bin"]
        assert [file.container for file in sockets(root)] == ["/run/nvidia-persistenced/socket"]
        assert found.hook == f"{HOST}/usr/bin/nvidia-cdi-hook"

    def test_an_empty_root_gives_nothing(self, tmp_path: Path) -> None:
        found = discover(Root(HOST, tmp_path), VERSION)
        assert (found.libraries, found.binaries, found.firmware, found.hook) == ((), (), (), None)


@pytest.mark.parametrize(
    ("entries", "path", "expected"),
    [
        (["a/b"], "a/b", "a/b"),
        (["a/b", "l -> /a"], "l/b", "a/b"),
        (["a/b", "a/l -> ../../../../a/b"], "a/l", "a/b"),
        (["l -> l"], "l", None),
        (["l -> /missing"], "l", None),
        ([], "missing", None),
    ],
)
def test_resolve_inside(tmp_path: Path, entries: list[str], path: str, expected: str | None) -> None:
    tree(tmp_path, *entries)
    assert resolve_inside(tmp_path, tmp_path / path) == (tmp_path / expected if expected else None)


@pytest.mark.parametrize(
    "folder", ["usr/lib/x86_64-linux-gnu", "usr/lib64", "lib64", "usr/lib/aarch64-linux-gnu", "usr/local/nvidia/lib64"]
)
def test_the_library_is_found_where_distributions_put_it(tmp_path: Path, folder: str) -> None:
    tree(tmp_path, f"{folder}/libnvidia-ml.so.{VERSION}", f"{folder}/libnvidia-ml.so.1 -> libnvidia-ml.so.{VERSION}")
    assert find_library(tmp_path) == tmp_path / folder / f"libnvidia-ml.so.{VERSION}"


def test_a_root_without_the_library_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(LibraryNotFoundError, match=r"usr/lib64.*NVIDIA_DRIVER_ROOT"):
        find_library(tmp_path)


def test_a_file_that_is_no_library(tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_text("text")
    with pytest.raises(LibraryUnusableError, match="cannot load"):
        Nvml(tmp_path / "libnvidia-ml.so.1")


WHOLE = Device("gpu-0", "GPU-0", "GPU-0", 0, "0000:10:1c.0", None, {})
SLICE = Device("gpu-0-mig-1g5gb-19-0", "MIG-0", "GPU-0", 0, "0000:10:1c.0", Partition(7, 0), {})


@pytest.fixture
def gpus(install_gpus: Callable[..., SimulatedGpus]) -> SimulatedGpus:
    return install_gpus()


def builder(gpus: SimulatedGpus, host: Path) -> SpecBuilder:
    root = Root(host, gpus.root)
    nodes = DeviceNodes(root, gpus.root / "proc/driver/nvidia", gpus.root / "proc/devices", gpus.root / "sys")
    return SpecBuilder(root, discover(root, VERSION), nodes)


def paths(nodes: list[dict[str, Any]]) -> list[str]:
    return [node["path"] for node in nodes]


class TestSpec:
    def test_a_whole_gpu(self, gpus: SimulatedGpus) -> None:
        spec = builder(gpus, Path("/")).claim("uid", [WHOLE])
        assert (spec["cdiVersion"], spec["kind"]) == ("0.5.0", "k8s.gpu.nvidia.com/claim")
        assert [device["name"] for device in spec["devices"]] == ["uid-gpu-0"]
        assert spec["devices"][0]["containerEdits"]["deviceNodes"] == [
            {"path": "/dev/nvidia0", "type": "c", "major": 195, "minor": 0, "permissions": "rw"}
        ]
        edits = spec["containerEdits"]
        assert edits["env"] == ["NVIDIA_VISIBLE_DEVICES=void"]
        assert paths(edits["deviceNodes"]) == ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"], (
            "no modeset node: there is none"
        )
        assert "hooks" not in edits

    def test_a_root_elsewhere_on_the_host_gives_host_paths(self, gpus: SimulatedGpus) -> None:
        spec = builder(gpus, HOST).claim("uid", [WHOLE])
        (node,) = spec["devices"][0]["containerEdits"]["deviceNodes"]
        assert (node["path"], node["hostPath"]) == ("/dev/nvidia0", f"{HOST}/dev/nvidia0")
        assert all(mount["hostPath"].startswith(f"{HOST}/usr/") for mount in spec["containerEdits"]["mounts"])

    def test_without_a_hook_libraries_are_also_there_under_their_loader_names(self, gpus: SimulatedGpus) -> None:
        mounts = {
            mount["containerPath"]: mount
            for mount in builder(gpus, HOST).claim("uid", [WHOLE])["containerEdits"]["mounts"]
        }
        folder = "/usr/lib/x86_64-linux-gnu"
        real = f"{HOST}{folder}/libnvidia-ml.so.{VERSION}"
        assert {
            mounts[f"{folder}/{name}"]["hostPath"]
            for name in (f"libnvidia-ml.so.{VERSION}", "libnvidia-ml.so.1", "libnvidia-ml.so")
        } == {real}
        assert all("ro" in mount["options"] for mount in mounts.values())
        assert "/usr/bin/nvidia-smi" in mounts

    def test_with_a_hook_it_makes_the_links(self, gpus: SimulatedGpus) -> None:
        (gpus.root / "usr/bin/nvidia-cdi-hook").write_text("")
        edits = builder(gpus, HOST).claim("uid", [WHOLE])["containerEdits"]
        assert [hook["args"][1] for hook in edits["hooks"]] == [
            "create-symlinks",
            "update-ldcache",
            "disable-device-node-modification",
        ]
        assert {hook["path"] for hook in edits["hooks"]} == {f"{HOST}/usr/bin/nvidia-cdi-hook"}
        assert f"libnvidia-ml.so.{VERSION}::/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1" in edits["hooks"][0]["args"]
        assert not any(mount["containerPath"].endswith("libnvidia-ml.so.1") for mount in edits["mounts"])

    def test_a_partition_gets_its_parent_and_its_two_capabilities(self, gpus: SimulatedGpus) -> None:
        access = gpus.root / "proc/driver/nvidia/capabilities/gpu0/mig/gi7"
        (access / "ci0").mkdir(parents=True)
        (access / "access").write_text("DeviceFileMinor: 66\nDeviceFileMode: 292\nDeviceFileModify: 1\n")
        (access / "ci0/access").write_text("DeviceFileMinor: 67\n")
        nodes = builder(gpus, Path("/")).claim("uid", [SLICE])["devices"][0]["containerEdits"]["deviceNodes"]
        assert [(node["path"], node["major"], node["minor"]) for node in nodes] == [
            ("/dev/nvidia0", 195, 0), ("/dev/nvidia-caps/nvidia-cap66", 511, 66), ("/dev/nvidia-caps/nvidia-cap67", 511, 67),
        ]  # fmt: skip

    def test_display_nodes_go_with_the_whole_gpu_only(self, gpus: SimulatedGpus) -> None:
        folder = next((gpus.root / "sys/bus/pci/devices").iterdir()).name
        for name in ("card0", "renderD128"):
            (gpus.root / f"sys/bus/pci/devices/{folder}/drm/{name}").mkdir(parents=True)
            (gpus.root / "dev/dri").mkdir(exist_ok=True)
            os.mknod(gpus.root / f"dev/dri/{name}", 0o20666, os.makedev(226, int(name.strip("cardenD"))))
        whole = Device("gpu-0", "GPU-0", "GPU-0", 0, folder, None, {})
        assert paths(builder(gpus, Path("/")).claim("uid", [whole])["devices"][0]["containerEdits"]["deviceNodes"]) == [
            "/dev/nvidia0", "/dev/dri/card0", "/dev/dri/renderD128",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("device", "missing", "complaint"),
        [
            (WHOLE, "dev/nvidia0", "no device node"),
            (SLICE, "proc/devices", "cannot read"),
            (SLICE, "nothing", "cannot read the MIG capability"),
        ],
    )
    def test_a_device_that_is_not_there(
        self, gpus: SimulatedGpus, device: Device, missing: str, complaint: str
    ) -> None:
        (gpus.root / missing).unlink(missing_ok=True)
        with pytest.raises(MissingDeviceError, match=complaint):
            builder(gpus, Path("/")).claim("uid", [device])


def test_spec_files_are_replaced_whole_and_listed_by_claim(tmp_path: Path) -> None:
    files = SpecFiles(tmp_path / "cdi")
    assert files.claims() == []
    files.write("uid-1", {"kind": "a"})
    files.write("uid-1", {"kind": "b"})
    (tmp_path / "cdi/other.yaml").write_text("")
    assert files.claims() == ["uid-1"]
    assert '"kind": "b"' in files.path("uid-1").read_text()
    assert files.path("uid-1").name == "k8s.gpu.nvidia.com-claim_uid-1.yaml"
    files.remove("uid-1")
    files.remove("uid-1")
    assert not files.exists("uid-1")


def test_device_ids_are_nvidias() -> None:
    assert device_id("1234", "gpu-0") == "k8s.gpu.nvidia.com/claim=1234-gpu-0"
