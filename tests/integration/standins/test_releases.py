"""Helm releases under the real engine, with a chart made for the test."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from gpu_sandbox.settings import binaries
from tests.integration.standins.stacks import Kubectl, Stack

TEMPLATE = """
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-settings
data:
  mode: {{ required "mode is missing" .Values.mode | quote }}
  token: {{ .Values.token | quote }}
  replicas: {{ .Values.replicas | quote }}
"""


def test_life_of_a_release(new_stack: Callable[[str], Stack], kubectl: Kubectl, namespace: str, tmp_path: Path) -> None:
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: small\nversion: 1.2.3\nappVersion: '9'\n")
    (chart / "templates" / "settings.yaml").write_text(TEMPLATE)
    stack = new_stack("released")

    def program(values: str) -> str:
        return f"""
        release = k8s.helm.v3.Release("small", name="small", namespace={namespace!r}, chart={str(chart)!r},
            values={{**{values}, "token": pulumi.Output.secret("open-sesame")}})
        pulumi.export("status", release.status.status)
        """

    stack.program(program("{}"))
    assert "mode is missing" in stack.up().failed().text

    stack.program(program('{"mode": "a", "replicas": 3}'))
    stack.up().ok()
    made = kubectl.get("configmap", "small-settings", namespace)
    assert made is not None
    assert made["data"] == {"mode": "a", "token": "open-sesame", "replicas": "3"}, "3 stays an integer on its way"
    assert stack.run("stack", "output", "status").ok().text.strip() == "deployed"
    assert "open-sesame" not in stack.stored_text()
    stack.run("preview", "--expect-no-changes").ok()

    stack.program(program('{"mode": "b", "replicas": 3}'))
    assert list(stack.steps()["small"]["detailedDiff"]) == ["values.mode"]
    stack.up().ok()
    made = kubectl.get("configmap", "small-settings", namespace)
    assert made is not None
    assert made["data"]["mode"] == "b"

    # what somebody else did to the release is found and taken back
    by_hand = ["upgrade", "small", str(chart), "-n", namespace, "--reuse-values", "--set", "mode=c"]
    subprocess.run(
        [binaries() / "helm", *by_hand, "--kubeconfig", str(kubectl.kubeconfig)], check=True, capture_output=True
    )
    stack.run("refresh", "--yes").ok()
    assert list(stack.steps()["small"]["detailedDiff"]) == ["values.mode"]
    stack.program("")
    stack.up().ok()
    assert kubectl.get("configmap", "small-settings", namespace) is None
