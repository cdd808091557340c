"""FashionMnistTrio: three confined pods, each with its own claim; and the CPU program really learns."""

import os
import re
import signal
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pulumi
import pytest

from eks_gpu_dra import FashionMnistTrio, FashionMnistTrioArgs, InvalidInputs
from tests.unit.components.recording import Program, run, unknown

TEMPLATES = {"large": "l", "medium": "m", "small": "s"}
SCRIPTS = resources.files("eks_gpu_dra.workloads") / "scripts"


def trio(preview: bool = False, **args: Any) -> Program:
    inputs: dict[str, Any] = {"namespace": "demo", "image": "pytorch/pytorch:2", "claim_templates": TEMPLATES, **args}
    typed: FashionMnistTrioArgs = inputs  # type: ignore[assignment]
    return run(lambda: FashionMnistTrio("trio", typed), preview=preview)


def pod(program: Program, tier: str) -> dict[str, Any]:
    found: dict[str, Any] = program.named(f"trio-{tier}").inputs["spec"]["template"]["spec"]
    return found


def test_its_children_are_exactly_these() -> None:
    program = trio()
    assert {(each.type.rpartition(":")[2], each.name) for each in program} == {
        ("FashionMnistTrio", "trio"),
        ("ConfigMap", "trio-scripts"),
        ("Deployment", "trio-large"),
        ("Deployment", "trio-medium"),
        ("Deployment", "trio-small"),
    }
    assert program.children_of("trio") == {"trio-scripts", "trio-large", "trio-medium", "trio-small"}
    assert program.named("trio").type == "eks-gpu-dra:index:FashionMnistTrio"
    assert program.named("trio-large").depends_on == {"trio-scripts"}
    assert program.outputs["trio"] == [
        {"deployments": {"large": "trio-large", "medium": "trio-medium", "small": "trio-small"}}
    ]


@pytest.mark.parametrize("tier", ["large", "medium", "small"])
def test_each_pod_claims_its_own_slice(tier: str) -> None:
    spec = pod(trio(), tier)
    assert spec["resourceClaims"] == [{"name": "slice", "resourceClaimTemplateName": TEMPLATES[tier]}]
    (container,) = spec["containers"]
    assert container["resources"]["claims"] == [{"name": "slice"}]
    assert {"name": "TIER", "value": tier} in container["env"]


def test_the_pods_meet_the_restricted_standard_and_hold_no_token() -> None:
    spec = pod(trio(), "small")
    (container,) = spec["containers"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"].keys() == {"memory"}


def test_a_pod_is_ready_when_its_training_is_done() -> None:
    spec = pod(trio(), "small")
    (container,) = spec["containers"]
    (done,) = [each["value"] for each in container["env"] if each["name"] == "TRAINING_DONE_FILE"]
    assert container["readinessProbe"]["exec"]["command"] == ["test", "-f", done]


def test_a_new_pod_waits_for_the_old_ones_slice() -> None:
    assert trio().named("trio-small").inputs["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize(("program", "script"), [(None, "train_pytorch.py"), ("pytorch", "train_pytorch.py"), ("cpu", "train_cpu.py")])  # fmt: skip
def test_the_program_runs_from_a_config_map_named_by_its_content(program: str | None, script: str) -> None:
    made = trio(program=program)
    config_map = made.named("trio-scripts").inputs
    assert config_map["data"].keys() == {script, "held_slice.py", "stay_running.py"}
    assert config_map["data"][script] == (SCRIPTS / script).read_text()
    spec = pod(made, "small")
    assert spec["containers"][0]["command"] == ["python3", f"/scripts/{script}"]
    assert {"name": "scripts", "configMap": {"name": config_map["metadata"]["name"]}} in spec["volumes"]
    other = trio(program="cpu" if script == "train_pytorch.py" else "pytorch").named("trio-scripts").inputs
    assert other["metadata"]["name"] != config_map["metadata"]["name"]


def test_an_own_command_needs_no_scripts() -> None:
    made = trio(command=["train", "--tier=$(TIER)"])
    assert not made.of_kind("ConfigMap")
    spec = pod(made, "medium")
    assert spec["containers"][0]["command"] == ["train", "--tier=$(TIER)"]
    assert [each["name"] for each in spec["volumes"]] == ["work"]


@pytest.mark.parametrize(
    ("args", "path", "says"),
    [
        ({"claim_templates": {"large": "l", "small": "s"}}, "claim_templates.medium", "is missing"),
        ({"claim_templates": {**TEMPLATES, "tiny": "t"}}, "claim_templates.tiny", "is not an input"),
        ({"claim_templates": {**TEMPLATES, "small": "S_"}}, "claim_templates.small", "object name"),
        ({"program": "tensorflow"}, "program", "known are pytorch, cpu"),
        ({"program": "cpu", "command": ["x"]}, "program", "no effect beside command"),
        ({"command": []}, "command", "is empty"),
        ({"command": "python3 x.py"}, "command", "is not a list"),
        ({"image": " "}, "image", "not empty"),
        ({"imag": "x"}, "imag", "did you mean 'image'"),
    ],
)
def test_a_wrong_input_says_which_and_what_to_do(args: dict[str, Any], path: str, says: str) -> None:
    with pytest.raises(InvalidInputs) as caught:
        trio(**args)
    (problem,) = caught.value.problems
    assert problem.path == path
    assert says in problem.reason


@pytest.mark.parametrize("key", ["namespace", "image", "claim_templates", "command"])
def test_what_a_preview_does_not_know_yet_is_no_error(key: str) -> None:
    def program() -> None:
        args: Any = {"namespace": "demo", "image": "i", "claim_templates": TEMPLATES, key: unknown()}
        FashionMnistTrio("trio", args)

    assert len(run(program, preview=True).of_kind("Deployment")) == 3


def test_claim_templates_may_be_another_components_output() -> None:
    def program() -> None:
        made = pulumi.Output.from_input(TEMPLATES)
        FashionMnistTrio("trio", {"namespace": "demo", "image": "i", "claim_templates": made})

    assert pod(run(program), "large")["resourceClaims"][0]["resourceClaimTemplateName"] == "l"


@pytest.mark.parametrize(("tier", "least"), [("large", 0.9), ("medium", 0.8), ("small", 0.6)])
def test_the_cpu_program_learns_tells_what_it_holds_and_stays_until_stopped(
    tier: str, least: float, tmp_path: Path
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "nvidia-smi").write_text('#!/bin/sh\necho "GPU 0: a board (UUID: GPU-1)"\necho "  MIG 1g.5gb $1"\n')
    (tools / "nvidia-smi").chmod(0o755)
    done = tmp_path / "done"
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "TIER": tier,
        "TRAINING_DONE_FILE": str(done),
        "HEARTBEAT_SECONDS": "0.05",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    process = subprocess.Popen(
        [sys.executable, str(SCRIPTS / "train_cpu.py")], env=environment, stdout=subprocess.PIPE, text=True
    )
    lines = []
    assert process.stdout is not None
    with process, process.stdout:
        for line in process.stdout:
            lines.append(line.rstrip())
            if "heartbeat 2" in line:
                assert done.exists()
                process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
    text = "\n".join(lines)
    assert f"{tier}:     MIG 1g.5gb -L" in lines
    assert f"{tier}: training done" in lines
    losses = [float(found) for found in re.findall(r"loss (\d+\.\d+)", text)]
    assert losses == sorted(losses, reverse=True)
    accuracy = float(re.findall(r"accuracy (\d+\.\d+)", text)[-1])
    assert accuracy >= least


def test_every_script_is_python() -> None:
    for name in ("train_cpu.py", "train_pytorch.py", "held_slice.py", "stay_running.py"):
        compile((SCRIPTS / name).read_text(), name, "exec")
