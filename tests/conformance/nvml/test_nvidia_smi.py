"""The nvidia-smi stand-in: texts that scripts parse, tables to the column, refusals by name."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

import pynvml
import pytest

from gpu_sandbox import gpus
from tests.conformance.nvml.gpu import Gpu, where

Smi = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def root(install: Callable[..., gpus.DriverRoot], open_nvml: Callable[..., None]) -> gpus.DriverRoot:
    root = install(count=2)
    open_nvml(root)
    return root


@pytest.fixture
def smi(root: gpus.DriverRoot) -> Smi:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        # An empty environment: the tool finds the library of its own driver root.
        return subprocess.run([str(root.nvidia_smi), *arguments], env={}, capture_output=True, text=True, check=False)

    return run


def rows(text: str) -> list[list[str]]:
    """The cells of a table's rows, without rules and headings."""
    body = text.split("=|\n", 1)[1]
    return [line.strip("|").split() for line in body.splitlines() if line.startswith("|")]


def test_list(root: gpus.DriverRoot, smi: Smi) -> None:
    Gpu(root).create_device(9, 4, ci_profile=2)
    Gpu(root).create_device(19, 0)
    uuids = [pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(index)) for index in range(2)]
    three, one = Gpu(root).mig_uuids()
    assert smi("-L").stdout == (
        f"GPU 0: NVIDIA A100-SXM4-40GB (UUID: {uuids[0]})\n"
        f"  MIG 3g.20gb     Device  0: (UUID: {three})\n"
        f"  MIG 1g.5gb      Device  1: (UUID: {one})\n"
        f"GPU 1: NVIDIA A100-SXM4-40GB (UUID: {uuids[1]})\n"
    )


def test_the_table_says_that_it_is_simulated_and_shows_mig_devices(root: gpus.DriverRoot, smi: Smi) -> None:
    Gpu(root, 1).create_device(14, 2, ci_profile=1)
    text = smi().stdout
    assert "SIMULATED" in text
    assert "Driver Version: 580.126.20" in text
    assert "CUDA Version: 13.0" in text
    assert text.count("NVIDIA A100-SXM4-40GB") == 2
    mig = rows(text[text.index("| MIG devices:") :])[0]
    assert mig[:4] == ["1", "4", "0", "0"]
    assert mig[5:8] == ["0MiB", "/", "9856MiB"]
    tables = [line for line in text.splitlines()[1:] if line]
    assert {len(line) for line in tables} == {91}


def test_version_says_that_it_is_simulated(smi: Smi) -> None:
    assert "580.126.20 (simulated)" in smi("--version").stdout


@pytest.mark.parametrize("command", ["-lgip", "-lgi", "-lcip", "-lci"])
def test_tables_of_mig_are_rectangular(command: str, root: gpus.DriverRoot, smi: Smi) -> None:
    for profile, start in ((9, 4), (14, 2), (19, 0)):
        Gpu(root).create_device(profile, start)
    run = smi("mig", command)
    assert run.returncode == 0
    assert len({len(line) for line in run.stdout.splitlines()}) == 1


def test_gpu_instance_profiles(root: gpus.DriverRoot, smi: Smi) -> None:
    Gpu(root).create(9, 4)
    listed = rows(smi("mig", "-lgip", "-i", "0").stdout)
    assert listed[0] == ["0", "MIG", "1g.5gb", "19", "4/7", "4.75", "No", "14", "0", "0"]
    assert listed[1] == ["1", "0", "0"]
    assert [row[2] for row in listed[::2]] == [
        "1g.5gb",
        "1g.5gb+me",
        "1g.10gb",
        "2g.10gb",
        "3g.20gb",
        "4g.20gb",
        "7g.40gb",
    ]
    assert listed[-2] == ["0", "MIG", "7g.40gb", "0", "0/1", "39.25", "No", "98", "5", "0"]
    assert listed[-1] == ["7", "1", "1"]


def test_instances(root: gpus.DriverRoot, smi: Smi) -> None:
    Gpu(root).create_device(9, 4)  # 1c.3g.20gb
    Gpu(root).create_device(19, 1)
    assert rows(smi("mig", "-lgi").stdout) == [
        ["0", "MIG", "1g.5gb", "19", "8", "1:1"],
        ["0", "MIG", "3g.20gb", "9", "2", "4:4"],
    ]
    assert rows(smi("mig", "-lci").stdout) == [
        ["0", "8", "MIG", "1g.5gb", "0", "0", "0:1"],
        ["0", "2", "MIG", "1c.3g.20gb", "0", "0", "0:1"],
    ]
    inside = rows(smi("mig", "-lcip", "-gi", "2").stdout)
    assert inside[0] == ["0", "2", "MIG", "1c.3g.20gb", "0", "2/3", "14", "2", "0", "0"]
    assert inside[4] == ["0", "2", "MIG", "3g.20gb", "2*", "0/1", "42", "2", "0", "0"]


def test_possible_placements(smi: Smi) -> None:
    lines = smi("mig", "-lgipp", "-i", "1").stdout.splitlines()
    assert lines[0] == "GPU  1 Profile ID 19 Placements: {0,1,2,3,4,5,6}:1"
    assert lines[-1] == "GPU  1 Profile ID  0 Placement : {0}:8"


def test_create_with_compute_instances_and_destroy(root: gpus.DriverRoot, smi: Smi) -> None:
    assert smi("mig", "-i", "0", "-cgi", "9,1g.5gb:1", "-C").stdout.splitlines() == [
        "Successfully created GPU instance ID  2 on GPU  0 using profile MIG 3g.20gb (ID  9)",
        "Successfully created compute instance ID  0 on GPU  0 GPU instance ID  2 using profile MIG 3g.20gb (ID  2)",
        "Successfully created GPU instance ID  8 on GPU  0 using profile MIG 1g.5gb (ID 19)",
        "Successfully created compute instance ID  0 on GPU  0 GPU instance ID  8 using profile MIG 1g.5gb (ID  0)",
    ]
    busy = smi("mig", "-dgi", "-gi", "8")
    assert busy.returncode == pynvml.NVML_ERROR_IN_USE
    assert busy.stdout.splitlines() == [
        "Unable to destroy GPU instance ID  8 from GPU  0: In use by another client",
        "Failed to destroy GPU instances: In use by another client",
    ]
    assert smi("mig", "-dci", "-gi", "8", "-ci", "0").stdout == (
        "Successfully destroyed compute instance ID  0 from GPU  0 GPU instance ID  8\n"
    )
    assert smi("mig", "-dgi", "-gi", "8").stdout == "Successfully destroyed GPU instance ID  8 from GPU  0\n"
    assert len(Gpu(root).mig_uuids()) == 1


def test_a_list_stops_at_the_first_failure_and_keeps_what_it_made(root: gpus.DriverRoot, smi: Smi) -> None:
    run = smi("mig", "-i", "1", "-cgi", "19,19,14,9")
    assert run.returncode == pynvml.NVML_ERROR_INSUFFICIENT_RESOURCES
    assert run.stdout.splitlines()[-2:] == [
        "Unable to create a GPU instance on GPU  1 using profile 9: Insufficient Resources",
        "Failed to create GPU instances: Insufficient Resources",
    ]
    assert [where(gi)[1] for gi in Gpu(root, 1).instances(19)] == [4, 6]
    assert smi("mig", "-cgi", "5g.99gb").returncode == pynvml.NVML_ERROR_INVALID_ARGUMENT


def test_compute_instances_of_a_choice_and_the_default(root: gpus.DriverRoot, smi: Smi) -> None:
    Gpu(root).create(9, 4)
    Gpu(root).create(15, 0)
    assert smi("mig", "-cci", "1,1c.3g.20gb", "-gi", "2").returncode == 0
    assert "using profile MIG 1g.10gb (ID  7)" in smi("mig", "-cci", "-gi", "3").stdout
    assert [row[3:6] for row in rows(smi("mig", "-lci", "-gi", "2").stdout)] == [
        ["1c.3g.20gb", "0", "1"],
        ["2c.3g.20gb", "1", "0"],
    ]


def test_mig_mode_waits_for_a_reset(root: gpus.DriverRoot, smi: Smi) -> None:
    mode = ("--query-gpu=mig.mode.current,mig.mode.pending", "--format=csv,noheader", "-i", "0")
    text = smi("-i", "0", "-mig", "0").stdout
    assert "Warning: MIG mode is in pending disable state for GPU 00000000:10:1C.0" in text
    assert smi(*mode).stdout == "Enabled, Disabled\n"
    assert "GPU 00000000:10:1C.0 was successfully reset." in smi("-r", "-i", "0").stdout
    assert smi(*mode).stdout == "Disabled, Disabled\n"
    listing = smi("mig", "-lgi", "-i", "0")
    assert (listing.stdout, listing.returncode) == ("No MIG-enabled devices found.\n", 6)


def test_query(root: gpus.DriverRoot, smi: Smi) -> None:
    fields = "index,name,uuid,memory.total,mig.mode.current,driver_version,pci.bus_id"
    uuid = pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(1))
    values = f"1, NVIDIA A100-SXM4-40GB, {uuid}, 40960 MiB, Enabled, 580.126.20, 00000000:10:1D.0\n"
    assert smi(f"--query-gpu={fields}", "--format=csv", "--id=1").stdout == (
        "index, name, uuid, memory.total [MiB], mig.mode.current, driver_version, pci.bus_id\n" + values
    )
    assert smi("--query-gpu", fields, "--format", "csv,noheader", "-i", uuid).stdout == values
    assert smi("--query-gpu=memory.total", "--format=csv,noheader,nounits", "-i", "0000:10:1d.0").stdout == "40960\n"
    assert smi("--query-gpu=utilization.gpu", "--format=csv,noheader", "-i", "0").stdout == "[N/A]\n"


def test_settings_that_sharing_needs_are_recorded(root: gpus.DriverRoot, smi: Smi) -> None:
    uuid = pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(1))
    assert smi("compute-policy", "-i", uuid, "--set-timeslice", "2").returncode == 0
    assert smi("-i", uuid, "-c", "EXCLUSIVE_PROCESS").returncode == 0
    assert smi("-i", uuid, "-pm", "1").returncode == 0
    zero, one = gpus.read(root.path).gpus
    assert (zero.timeslice, zero.compute_mode) == (0, 0)
    assert (one.timeslice, one.compute_mode) == (2, pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS)
    assert "MEDIUM" in smi("compute-policy", "-l").stdout
    assert smi("compute-policy", "--set-timeslice=DEFAULT").returncode == 0
    assert gpus.read(root.path).gpus[1].timeslice == 0


def test_a_lost_gpu_does_not_hide_the_others(root: gpus.DriverRoot, smi: Smi) -> None:
    gpus.lose(root.path, 0)
    run = smi("-L")
    assert run.returncode == pynvml.NVML_ERROR_GPU_IS_LOST
    assert run.stdout.splitlines()[0] == "Unable to determine the device handle for GPU0: GPU is lost"
    assert run.stdout.splitlines()[1].startswith("GPU 1: ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--frobnicate"], 'does not know "--frobnicate"'),
        (["-i"], 'Option "-i" needs a value'),
        (["-mig", "2"], 'Invalid value "2". It is one of: 0/DISABLED 1/ENABLED'),
        (["-c", "SHARED"], "3/EXCLUSIVE_PROCESS"),
        (["--query-gpu=nonsense", "--format=csv"], 'Field "nonsense" is not a valid field'),
        (["--query-gpu=name"], "--format=csv is missing"),
        (["mig", "-frob"], 'Option "-frob" is not recognized'),
        (["mig", "-cgi"], "needs profile names or ids"),
        (["mig", "-dgi", "-gi", "x"], "needs ids"),
        (["mig"], "Usage: nvidia-smi mig"),
        (["compute-policy"], "Usage: nvidia-smi compute-policy"),
        (["compute-policy", "--set-timeslice", "9"], "2/MEDIUM"),
    ],
)
def test_bad_usage_is_named_and_fails(arguments: list[str], says: str, smi: Smi) -> None:
    run = smi(*arguments)
    assert says in run.stdout
    assert run.returncode == pynvml.NVML_ERROR_INVALID_ARGUMENT


def test_an_unknown_gpu_is_named(smi: Smi) -> None:
    run = smi("-i", "7", "-L")
    assert 'no GPU is called "7"' in run.stdout
    assert run.returncode == pynvml.NVML_ERROR_NOT_FOUND


@pytest.mark.parametrize("arguments", [["-h"], ["mig", "-h"], ["compute-policy", "--help"]])
def test_help(arguments: list[str], smi: Smi) -> None:
    run = smi(*arguments)
    assert run.returncode == 0
    assert re.search("simulated", run.stdout, re.IGNORECASE)


def test_a_board_without_mig(install: Callable[..., gpus.DriverRoot], smi: Smi) -> None:
    install("t4", 1)
    assert smi("-L").stdout.startswith("GPU 0: Tesla T4 (UUID: GPU-")
    assert "MIG devices" not in smi().stdout
    assert smi("--query-gpu=mig.mode.current", "--format=csv,noheader").stdout == "[N/A]\n"
    assert smi("-mig", "1").returncode == pynvml.NVML_ERROR_NOT_SUPPORTED


def test_another_library_is_refused(root: gpus.DriverRoot, smi: Smi, tmp_path: object) -> None:
    """On a machine with a real driver the stand-in must never speak for a real GPU."""
    real = root.library_dir / f"libnvidia-ml.so.{gpus.DRIVER_VERSION}"
    stranger = root.path / "stranger.c"
    stranger.write_text("int nvmlInit_v2(void) { return 0; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", str(stranger), "-o", str(real)], check=True)
    run = smi("-L")
    assert "is not the simulated one" in run.stderr
    assert run.returncode == pynvml.NVML_ERROR_FUNCTION_NOT_FOUND
