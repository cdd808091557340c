"""When an object works, kind by kind, and what is said when it does not."""

from collections.abc import Callable
from typing import Any

import pytest

from gpu_sandbox.standins.kubernetes.readiness import others, pods, workloads
from gpu_sandbox.standins.kubernetes.readiness.events import warnings
from gpu_sandbox.standins.kubernetes.readiness.verdict import READY, Verdict, failed, waiting

Judge = Callable[[dict[str, Any]], Verdict]
NOT_SEEN = waiting("its controller has not looked at it yet")
UNSCHEDULABLE = "0/1 nodes are available: 1 cannot allocate all claims."


def obj(spec: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    return {"metadata": {"generation": 2}, "spec": spec or {}, "status": {"observedGeneration": 2, **status}}


def conditions(kind: str, status: str, reason: str = "", message: str = "") -> list[dict[str, str]]:
    return [{"type": kind, "status": status, "reason": reason, "message": message}]


@pytest.mark.parametrize(
    ("judge", "live", "verdict"),
    [
        (workloads.deployment, obj(observedGeneration=1), NOT_SEEN),
        (workloads.deployment, obj({"replicas": 2}, updatedReplicas=1), waiting("1 of 2 replicas updated")),
        (
            workloads.deployment,
            obj({"replicas": 1}, replicas=2, updatedReplicas=1, availableReplicas=2),
            waiting("1 replicas of an older revision still there"),
        ),
        (
            workloads.deployment,
            obj({"replicas": 2}, replicas=2, updatedReplicas=2, availableReplicas=1),
            waiting("1 of 2 replicas available"),
        ),
        (workloads.deployment, obj({"replicas": 1}, replicas=1, updatedReplicas=1, availableReplicas=1), READY),
        (workloads.deployment, obj({"replicas": 0}), READY),
        (workloads.deployment, obj({"replicas": 3, "paused": True}), READY),
        (
            workloads.deployment,
            obj(conditions=conditions("Progressing", "False", "ProgressDeadlineExceeded", "timed out")),
            failed("ProgressDeadlineExceeded: timed out"),
        ),
        (
            workloads.deployment,
            obj(conditions=conditions("ReplicaFailure", "True", "FailedCreate", "exceeded quota")),
            waiting("FailedCreate: exceeded quota"),
        ),
        (workloads.stateful_set, obj({"replicas": 2}, readyReplicas=1), waiting("1 of 2 replicas ready")),
        (
            workloads.stateful_set,
            obj({"replicas": 2}, readyReplicas=2, updatedReplicas=1, updateRevision="b", currentRevision="a"),
            waiting("1 of 2 replicas updated"),
        ),
        (
            workloads.stateful_set,
            obj(
                {"replicas": 2, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}},
                readyReplicas=2,
                updatedReplicas=1,
                updateRevision="b",
                currentRevision="a",
            ),
            READY,
        ),
        (
            workloads.stateful_set,
            obj({"replicas": 1, "updateStrategy": {"type": "OnDelete"}}, readyReplicas=1, updateRevision="b"),
            READY,
        ),
        (workloads.daemon_set, obj(desiredNumberScheduled=0), READY),
        (
            workloads.daemon_set,
            obj(desiredNumberScheduled=2, updatedNumberScheduled=2, numberAvailable=1),
            waiting("available on 1 of 2 nodes"),
        ),
        (
            workloads.daemon_set,
            obj(desiredNumberScheduled=2, updatedNumberScheduled=1, numberAvailable=2),
            waiting("updated on 1 of 2 nodes"),
        ),
        (workloads.job, obj(conditions=conditions("Complete", "True")), READY),
        (workloads.job, obj({"suspend": True}), READY),
        (
            workloads.job,
            obj(conditions=conditions("Failed", "True", "BackoffLimitExceeded", "too often")),
            failed("BackoffLimitExceeded: too often"),
        ),
        (workloads.job, obj(active=1), waiting("0 of 1 completions, 1 pods active, 0 failed")),
        (pods.pod, obj(phase="Running", conditions=conditions("Ready", "True")), READY),
        (pods.pod, obj(phase="Succeeded"), READY),
        (pods.pod, obj(phase="Pending"), waiting("the scheduler has not looked at it yet")),
        (pods.pod, obj({"nodeName": "a"}, phase="Pending"), waiting("phase Pending")),
        (
            pods.pod,
            obj(phase="Pending", conditions=conditions("PodScheduled", "False", "Unschedulable", UNSCHEDULABLE)),
            waiting(UNSCHEDULABLE),
        ),
        (pods.pod, obj(phase="Failed", reason="Evicted", message="disk"), failed("Evicted: disk")),
        (others.custom_resource_definition, obj(), waiting("its kind is not served yet")),
        (others.custom_resource_definition, obj(conditions=conditions("Established", "True")), READY),
        (
            others.custom_resource_definition,
            obj(conditions=conditions("NamesAccepted", "False", "Conflict", "taken")),
            failed("Conflict: taken"),
        ),
        (others.namespace, obj(phase="Active"), READY),
        (
            others.namespace,
            obj(phase="Terminating"),
            failed("it is Terminating: an older namespace of that name is still being deleted"),
        ),
    ],
)
def test_verdicts(judge: Judge, live: dict[str, Any], verdict: Verdict) -> None:
    assert judge(live) == verdict


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ({"waiting": {"reason": "ContainerCreating"}}, []),
        (
            {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'}},
            ['container main: ImagePullBackOff: Back-off pulling image "x"'],
        ),
        ({"terminated": {"exitCode": 0, "reason": "Completed"}}, []),
        ({"terminated": {"exitCode": 3, "message": "no GPU\n"}}, ["container main: exited with code 3: no GPU"]),
        ({"running": {}}, []),
    ],
)
def test_containers(state: dict[str, Any], problem: list[str]) -> None:
    assert pods.problems(obj(containerStatuses=[{"name": "main", "state": state}])) == problem


def test_a_crash_loop_says_how_the_container_ended() -> None:
    status = {
        "name": "main",
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
        "lastState": {"terminated": {"exitCode": 1, "message": "out of memory"}},
    }
    assert pods.problems(obj(initContainerStatuses=[status])) == [
        "container main: CrashLoopBackOff: back-off 10s (last exit code 1: out of memory)"
    ]


SELECTOR = {"selector": {"app": "a"}}


@pytest.mark.parametrize(
    ("spec", "status", "slices", "verdict"),
    [
        ({"type": "ExternalName"}, {}, [], READY),
        ({}, {}, [], READY),
        ({**SELECTOR, "clusterIP": "None"}, {}, [], READY),
        (SELECTOR, {}, [], waiting("no ready pod matches its selector app=a")),
        (SELECTOR, {}, [{"endpoints": None}], waiting("no ready pod matches its selector app=a")),
        (
            SELECTOR,
            {},
            [{"endpoints": [{"conditions": {"ready": False}}]}],
            waiting("no ready pod matches its selector app=a"),
        ),
        (SELECTOR, {}, [{"endpoints": [{"conditions": {"ready": True}}]}], READY),
        (
            {**SELECTOR, "type": "LoadBalancer"},
            {"loadBalancer": {}},
            [{"endpoints": [{}]}],
            waiting("its load balancer has no address yet"),
        ),
        (
            {**SELECTOR, "type": "LoadBalancer"},
            {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}},
            [{"endpoints": [{}]}],
            READY,
        ),
    ],
)
def test_services(spec: dict[str, Any], status: dict[str, Any], slices: list[dict[str, Any]], verdict: Verdict) -> None:
    assert others.service({"spec": spec, "status": status}, slices) == verdict


@pytest.mark.parametrize(
    ("phase", "events", "verdict"),
    [
        ("Bound", [], READY),
        ("Pending", [], waiting("phase Pending")),
        ("Pending", [{"reason": "WaitForFirstConsumer"}], READY),
        ("Lost", [], failed("its volume is lost")),
    ],
)
def test_claims_for_volumes(phase: str, events: list[dict[str, Any]], verdict: Verdict) -> None:
    assert others.persistent_volume_claim({"status": {"phase": phase}}, events) == verdict


def event(name: str, reason: str, message: str, second: int, kind: str = "Warning") -> dict[str, Any]:
    involved = {"kind": "Job", "name": name}
    time = f"2026-01-01T00:00:0{second}Z"
    return {"type": kind, "reason": reason, "message": message, "involvedObject": involved, "lastTimestamp": time}


def test_the_newest_warning_of_a_kind_is_told_once() -> None:
    events = [
        event("a", "FailedCreate", "pod a-2 is refused", 2),
        event("a", "FailedCreate", "pod a-1 is refused", 1),
        event("b", "FailedCreate", "pod b-1 is refused", 3),
        event("a", "Created", "fine", 4, kind="Normal"),
    ]
    assert warnings(events) == ["Job a: FailedCreate: pod a-2 is refused", "Job b: FailedCreate: pod b-1 is refused"]
