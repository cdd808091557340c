"""Waiting: an update ends when things work, and says why when they do not.

The API server runs alone here, so the tests play controller and kubelet by writing status.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.standins.stacks import Kubectl, Stack, finish

pytestmark = pytest.mark.integration

WORKLOADS = """
    ns = {namespace!r}
    labels = {{"app": "trainer"}}
    pod = {{"containers": [{{"name": "main", "image": "example/trainer"}}]}}
    # nobody here collects what a foreground deletion waits for
    background = {{"pulumi.com/deletionPropagationPolicy": "background"}}
    k8s.apps.v1.Deployment("trainer", metadata={{"name": "trainer", "namespace": ns, "annotations": background}},
        spec={{"replicas": 1, "selector": {{"match_labels": labels}}, "template": {{"metadata": {{"labels": labels}}, "spec": pod}}}},
        opts=pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(create="{seconds}s", update="{seconds}s")))
    k8s.batch.v1.Job("warmup", metadata={{"name": "warmup", "namespace": ns, "annotations": background}},
        spec={{"template": {{"spec": {{**pod, "restart_policy": "Never"}}}}}})
    k8s.apps.v1.StatefulSet("unwatched", metadata={{"name": "unwatched", "namespace": ns,
        "annotations": {{**background, "pulumi.com/skipAwait": "true"}}}},
        spec={{"service_name": "x", "selector": {{"match_labels": labels}}, "template": {{"metadata": {{"labels": labels}}, "spec": pod}}}})
"""

UNSCHEDULABLE = "0/1 nodes are available: 1 cannot allocate all claims."


def test_workloads(new_stack: Callable[[str], Stack], kubectl: Kubectl, namespace: str) -> None:
    stack = new_stack("work")
    stack.program(WORKLOADS.format(namespace=namespace, seconds=8))
    kubectl(
        "create",
        "-f",
        "-",
        stdin=f"""{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "trainer-0", "namespace": "{namespace}",
        "labels": {{"app": "trainer"}}}}, "spec": {{"containers": [{{"name": "main", "image": "example/trainer"}}]}}}}""",
    )
    kubectl.patch_status(
        "pod",
        "trainer-0",
        namespace,
        {
            "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": UNSCHEDULABLE}
            ]
        },
    )

    # the Deployment never works, the Job completes, the StatefulSet is not waited for
    update = stack.start("up", "--yes", "--skip-preview")
    kubectl.wait_for("job", "warmup", namespace)
    done = [
        {"type": kind, "status": "True", "reason": "CompletionsReached"} for kind in ("SuccessCriteriaMet", "Complete")
    ]
    times = {"startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:01Z"}
    kubectl.patch_status("job", "warmup", namespace, {**times, "succeeded": 1, "conditions": done})
    text = finish(update).failed().text
    assert "Deployment " + namespace + "/trainer: not ready after 8 s: its controller has not looked at it yet" in text
    assert f"Pod trainer-0: {UNSCHEDULABLE}" in text
    assert "warmup created" in text
    assert "unwatched created" in text

    # it is recorded, so the next update only waits for it, and ends as soon as it works
    stack.program(WORKLOADS.format(namespace=namespace, seconds=60))
    update = stack.start("up", "--yes", "--skip-preview")
    work = threading.Timer(
        3.0,
        kubectl.patch_status,
        ("deployment", "trainer", namespace, ready(kubectl, namespace)),
    )
    work.start()
    text = finish(update).ok().text
    work.join()
    assert "trainer updated" in text
    stack.run("preview", "--expect-no-changes").ok()

    # an object somebody else holds: the deletion says who
    kubectl(
        "patch",
        "job",
        "warmup",
        "-n",
        namespace,
        "--type=merge",
        "-p",
        '{"metadata": {"finalizers": ["example.com/hold"]}}',
    )
    stack.program(
        f"""
        k8s.batch.v1.Job("warmup", metadata={{"name": "warmup", "namespace": {namespace!r},
            "annotations": {{"pulumi.com/deletionPropagationPolicy": "background"}}}},
            spec={{"template": {{"spec": {{"restart_policy": "Never",
                "containers": [{{"name": "main", "image": "example/trainer"}}]}}}}}},
            opts=pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(delete="2s")))
        """
    )
    stack.up().ok()
    refused = stack.run("destroy", "--yes", "--skip-preview").failed()
    assert f"Job {namespace}/warmup: not gone after 2 s; held by finalizers example.com/hold" in refused.text
    kubectl("patch", "job", "warmup", "-n", namespace, "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    stack.run("destroy", "--yes", "--skip-preview").ok()
    assert kubectl.get("job", "warmup", namespace) is None
    assert kubectl.get("deployment", "trainer", namespace) is None


def test_nothing_outlives_a_killed_engine(new_stack: Callable[[str], Stack], kubectl: Kubectl, namespace: str) -> None:
    stack = new_stack("killed")
    stack.program(WORKLOADS.format(namespace=namespace, seconds=600))
    update = stack.start("up", "--yes", "--skip-preview")
    kubectl.wait_for("deployment", "trainer", namespace)
    started = descendants(update.pid)
    assert len(started) >= 3, "a language host, the program, a provider"
    update.kill()
    update.communicate()
    deadline = time.monotonic() + 15
    while left := [pid for pid in started if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.2)


def descendants(pid: int) -> list[int]:
    """Processes started by a process, and by those."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def ready(kubectl: Kubectl, namespace: str) -> dict[str, int]:
    """The status of a Deployment whose one replica works."""
    found = kubectl.wait_for("deployment", "trainer", namespace)
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 1)
    return {"observedGeneration": found["metadata"]["generation"], **counts}
