"""What the tests act with: a stack run by the real engine, and kubectl as the witness who is not Pulumi."""

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

from gpu_sandbox.settings import binaries
from gpu_sandbox.standins.install import pulumi_binary
from gpu_sandbox.toolchain.official import official_pulumi


@dataclass(frozen=True)
class Kubectl:
    """The cluster seen by somebody who is not Pulumi."""

    kubeconfig: Path

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        command = [str(binaries() / "kubectl"), "--kubeconfig", str(self.kubeconfig), *arguments]
        ran = subprocess.run(command, input=stdin, check=False, capture_output=True, text=True)
        assert ran.returncode == 0, f"kubectl {' '.join(arguments)}: {ran.stderr}"
        return ran.stdout

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        listed = json.loads(
            self("get", kind, "-n", namespace, "--field-selector", f"metadata.name={name}", "-o", "json")
        )
        items: list[dict[str, Any]] = listed["items"]
        return items[0] if items else None

    def wait_for(self, kind: str, name: str, namespace: str) -> dict[str, Any]:
        """The object, once somebody has made it."""
        deadline = time.monotonic() + 60
        while (found := self.get(kind, name, namespace)) is None:
            assert time.monotonic() < deadline, f"{kind} {name} did not appear"
            time.sleep(0.2)
        return found

    def patch_status(self, kind: str, name: str, namespace: str, status: dict[str, Any]) -> None:
        """Play kubelet or controller: an API server alone has neither."""
        patch = json.dumps({"status": status})
        self("patch", kind, name, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)


@dataclass(frozen=True)
class Ran:
    """One finished run of the engine."""

    code: int
    text: str

    def ok(self) -> "Ran":
        assert self.code == 0, self.text
        return self

    def failed(self) -> "Ran":
        assert self.code != 0, self.text
        return self


@dataclass(frozen=True)
class Stack:
    """A project in a directory of its own, with one stack."""

    directory: Path
    env: dict[str, str]
    backend: Path

    def program(self, text: str) -> None:
        (self.directory / "__main__.py").write_text("import pulumi\nimport pulumi_kubernetes as k8s\n" + dedent(text))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [str(pulumi_binary(official_pulumi())), *arguments, "--non-interactive", "--color=never"]
        return subprocess.Popen(
            command, cwd=self.directory, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def run(self, *arguments: str) -> Ran:
        return finish(self.start(*arguments))

    def up(self) -> Ran:
        return self.run("up", "--yes", "--skip-preview")

    def steps(self) -> dict[str, dict[str, Any]]:
        """What a preview would do, by logical name: op, detailedDiff."""
        text = self.run("preview", "--json").ok().text
        steps = json.loads(text[text.index("{") :])["steps"]
        return {step["urn"].rsplit("::", 1)[1]: step for step in steps if step["op"] != "same"}

    def stored_text(self) -> str:
        """Everything the backend has ever written about the stack."""
        return "\n".join(path.read_text() for path in self.backend.rglob("*") if path.is_file())


def finish(process: subprocess.Popen[str]) -> Ran:
    text, _ = process.communicate(timeout=120)
    return Ran(process.returncode, text)
