"""Helm releases, by the helm command line: what helm.v3.Release needs, in Helm's own words.

Owns the mapping of inputs to helm's flags and of helm's answers to outputs. Renders nothing itself and reads no chart.
An input with no counterpart here is refused, never ignored.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_sandbox.settings import binaries
from gpu_sandbox.standins.kubernetes.connection import is_kubeconfig_text
from gpu_sandbox.standins.kubernetes.difference import Difference, judge
from gpu_sandbox.standins.kubernetes.inputs import Checked, Naming
from gpu_sandbox.standins.kubernetes.lifecycle import Found, InitFailedError, RefusedError, Report
from gpu_sandbox.standins.kubernetes.settings import ProviderSettings
from gpu_sandbox.standins.kubernetes.tokens import GroupVersionKind, ObjectId, parse_id, unsupported
from gpu_sandbox.standins.kubernetes.values import (
    UNKNOWN,
    Object,
    mark_secrets,
    plain,
    redactor,
    without_nulls,
)

RELEASE = GroupVersionKind("helm.sh", "v3", "Release")

# Inputs that are a switch of `helm upgrade --install`.
_SWITCHES = {
    "atomic": "--rollback-on-failure",
    "cleanupOnFail": "--cleanup-on-fail",
    "createNamespace": "--create-namespace",
    "dependencyUpdate": "--dependency-update",
    "devel": "--devel",
    "disableOpenapiValidation": "--disable-openapi-validation",
    "disableWebhooks": "--no-hooks",
    "forceUpdate": "--force-replace",
    "renderSubchartNotes": "--render-subchart-notes",
    "resetValues": "--reset-values",
    "reuseValues": "--reuse-values",
    "skipCrds": "--skip-crds",
    "takeOwnership": "--take-ownership",
    "verify": "--verify",
    "waitForJobs": "--wait-for-jobs",
}
_OPTIONS = {
    "description": "--description",
    "keyring": "--keyring",
    "maxHistory": "--history-max",
    "version": "--version",
}
_REPOSITORY = {
    "repo": "--repo",
    "caFile": "--ca-file",
    "certFile": "--cert-file",
    "keyFile": "--key-file",
}
_OTHERS = frozenset(
    {"chart", "name", "namespace", "values", "allowNullValues", "repositoryOpts", "skipAwait", "timeout", "compat"}
)
_DEFAULT_SECONDS = 300
_GONE = "release: not found"


def check_release(news: Object, olds: Object, naming: Naming, namespace: str | None) -> Checked:
    """Complete the inputs of a release: a name, a namespace. `namespace` is None while the cluster is not known."""
    keep_nulls = plain(news.get("allowNullValues")) is True
    inputs = {key: value for key, value in news.items() if value is not None}
    if not keep_nulls:
        inputs = without_nulls(inputs)
    known = _SWITCHES.keys() | _OPTIONS.keys() | _OTHERS
    failures = {key: unsupported(f"the release input {key}") for key in inputs if key not in known and inputs[key]}
    repository = plain(inputs.get("repositoryOpts"))
    for key in repository if isinstance(repository, dict) else ():
        if key not in _REPOSITORY and repository[key]:
            # helm takes a password on its command line only, which every process of the machine can read
            failures[f"repositoryOpts.{key}"] = unsupported(f"chart repositories with {key}")
    if "name" not in inputs:
        inputs["name"] = plain(olds).get("name") or naming.choose()
    if namespace is not None:
        inputs.setdefault("namespace", namespace)
    return Checked(inputs, failures)


@dataclass(frozen=True)
class Releases:
    """Releases of one cluster."""

    settings: ProviderSettings

    def diff(self, token_kind: GroupVersionKind, object_id: str, old: Object, new: Object) -> Difference:
        named = (plain(new.get("namespace")), plain(new.get("name")))
        moved = (plain(old.get("namespace")), plain(old.get("name"))) != named
        return judge(old, new, identity_changed=False, replaced_fields=("name", "namespace") if moved else ())

    def create(
        self, token_kind: GroupVersionKind, inputs: Object, *, seconds: float, preview: bool, report: Report
    ) -> Found:
        if preview:
            return Found("", {**inputs, "status": UNKNOWN}, inputs)
        target = ObjectId(plain(inputs.get("namespace")) or "default", plain(inputs)["name"])
        if self._status(target) is not None:
            raise RefusedError(
                f"Helm release {target} already exists and is not in this stack's state; import it, choose another name, "
                f"or remove it (helm uninstall {target.name} -n {target.namespace})"
            )
        return self._apply(target, inputs, seconds)

    def read(self, token_kind: GroupVersionKind, object_id: str, inputs: Object, outputs: Object) -> Found | None:
        target = parse_id(object_id)
        status = self._status(target)
        if status is None:
            return None
        values = json.loads(self._helm("get", "values", target.name, "-n", target.namespace, "-o", "json")) or {}
        if inputs:
            # Values come back as given, so any difference was made by another hand.
            current = {**inputs, "values": mark_secrets(values, inputs.get("values"))}
            if not values and not plain(inputs.get("values")):
                current = inputs
        else:
            chart = status["chart"]["metadata"]
            current = {"name": target.name, "namespace": target.namespace, "chart": chart["name"], "values": values}
        return Found(object_id, _outputs(current, status), current)

    def update(
        self,
        token_kind: GroupVersionKind,
        object_id: str,
        inputs: Object,
        outputs: Object,
        *,
        seconds: float,
        preview: bool,
        report: Report,
    ) -> Found:
        if preview:
            return Found(object_id, {**inputs, "status": UNKNOWN}, inputs)
        return self._apply(parse_id(object_id), inputs, seconds)

    def delete(
        self,
        token_kind: GroupVersionKind,
        object_id: str,
        inputs: Object,
        outputs: Object,
        *,
        seconds: float,
        report: Report,
    ) -> None:
        target = parse_id(object_id)
        wait = [] if plain(inputs.get("skipAwait")) is True else ["--wait", "--timeout", _timeout(inputs, seconds)]
        self._helm("uninstall", target.name, "-n", target.namespace, "--ignore-not-found", *wait)

    def _apply(self, target: ObjectId, inputs: Object, seconds: float) -> Found:
        declared = plain(inputs)
        arguments = ["upgrade", "--install", target.name, declared["chart"], "-n", target.namespace, "-o", "json"]
        arguments += [flag for key, flag in _SWITCHES.items() if declared.get(key) is True]
        arguments += [text for key, flag in _OPTIONS.items() if key in declared for text in (flag, str(declared[key]))]
        repository = declared.get("repositoryOpts") or {}
        arguments += [
            text for key, flag in _REPOSITORY.items() if key in repository for text in (flag, repository[key])
        ]
        arguments += ["--timeout", _timeout(inputs, seconds)]
        if declared.get("skipAwait") is not True:
            arguments.append("--wait")
        try:
            answer = self._helm(*arguments, "--values", "-", stdin=json.dumps(declared.get("values") or {}))
        except RefusedError as error:
            reason = redactor(inputs)(str(error))
            status = self._status(target)
            if status is None:
                raise RefusedError(reason) from error
            raise InitFailedError(str(target), _outputs(inputs, status), inputs, [reason]) from error
        return Found(str(target), _outputs(inputs, json.loads(answer)), inputs)

    def _status(self, target: ObjectId) -> dict[str, Any] | None:
        try:
            status: dict[str, Any] = json.loads(self._helm("status", target.name, "-n", target.namespace, "-o", "json"))
        except RefusedError as error:
            if _GONE in str(error):
                return None
            raise
        return status

    def _helm(self, *arguments: str, stdin: str = "") -> str:
        with self._environment() as environment:
            context = ["--kube-context", self.settings.context] if self.settings.context else []
            ran = subprocess.run(
                [str(_helm_binary()), *arguments, *context],
                input=stdin,
                env=environment,
                check=False,
                capture_output=True,
                text=True,
            )
        if ran.returncode:
            text = ran.stderr.strip().removeprefix("Error: ") or f"exit status {ran.returncode}"
            raise RefusedError(f"helm {arguments[0]}: {text}")
        return ran.stdout

    @contextmanager
    def _environment(self) -> Iterator[dict[str, str]]:
        """The environment in which helm finds the cluster; a kubeconfig given as text lives as long as the call."""
        given = self.settings.kubeconfig
        if given is None or not is_kubeconfig_text(given):
            yield {**os.environ, **({"KUBECONFIG": given} if given else {})}
            return
        with tempfile.TemporaryDirectory(prefix="kubeconfig-") as directory:
            path = Path(directory, "kubeconfig")
            path.touch(mode=0o600)
            path.write_text(given)
            yield {**os.environ, "KUBECONFIG": str(path)}


def _helm_binary() -> Path:
    if (built := binaries() / "helm").exists():
        return built
    if found := shutil.which("helm"):
        return Path(found)
    raise RefusedError("a Helm release needs helm 4: run `sandbox toolchain build`, or put helm on PATH")


def _timeout(inputs: Object, seconds: float) -> str:
    return f"{int(seconds) or plain(inputs.get('timeout')) or _DEFAULT_SECONDS}s"


def _outputs(inputs: Object, status: dict[str, Any]) -> Object:
    chart = (status.get("chart") or {}).get("metadata") or {}
    return {
        **inputs,
        "status": {
            "name": status.get("name"),
            "namespace": status.get("namespace"),
            "revision": status.get("version"),
            "status": (status.get("info") or {}).get("status"),
            "chart": chart.get("name"),
            "version": chart.get("version"),
            "appVersion": chart.get("appVersion"),
        },
    }
