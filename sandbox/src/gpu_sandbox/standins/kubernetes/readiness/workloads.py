"""Deployment, StatefulSet, DaemonSet, Job: rolled out, and every pod of it works. Pure."""

from typing import Any

from gpu_sandbox.standins.kubernetes.readiness.verdict import (
    READY,
    Verdict,
    condition,
    failed,
    observed,
    said,
    waiting,
)

_NOT_SEEN = waiting("its controller has not looked at it yet")


def deployment(obj: dict[str, Any]) -> Verdict:
    """All replicas updated and available, none of an older revision left."""
    status = obj.get("status") or {}
    wanted = obj["spec"].get("replicas", 1)
    if not observed(obj):
        return _NOT_SEEN
    progressing = condition(obj, "Progressing")
    if progressing.get("status") == "False":
        return failed(said(progressing))
    if (refused := condition(obj, "ReplicaFailure")).get("status") == "True":
        return waiting(said(refused))
    if obj["spec"].get("paused"):
        return READY  # a paused rollout is what was asked for
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if updated < wanted:
        return waiting(f"{updated} of {wanted} replicas updated")
    if status.get("replicas", 0) > updated:
        return waiting(f"{status['replicas'] - updated} replicas of an older revision still there")
    if available < wanted:
        return waiting(f"{available} of {wanted} replicas available")
    return READY


def stateful_set(obj: dict[str, Any]) -> Verdict:
    """All replicas ready and of the current revision."""
    status = obj.get("status") or {}
    wanted = obj["spec"].get("replicas", 1)
    strategy = obj["spec"].get("updateStrategy") or {}
    if not observed(obj):
        return _NOT_SEEN
    if (ready := status.get("readyReplicas", 0)) < wanted:
        return waiting(f"{ready} of {wanted} replicas ready")
    partition = (strategy.get("rollingUpdate") or {}).get("partition", 0)
    if strategy.get("type", "RollingUpdate") == "RollingUpdate" and status.get("updateRevision"):
        expected = max(wanted - partition, 0)
        current = status.get("currentRevision") == status["updateRevision"]
        if not current and (updated := status.get("updatedReplicas", 0)) < expected:
            return waiting(f"{updated} of {expected} replicas updated")
    return READY


def daemon_set(obj: dict[str, Any]) -> Verdict:
    """Updated and available on every node it should be on; ready at once if that is no node."""
    status = obj.get("status") or {}
    if not observed(obj):
        return _NOT_SEEN
    wanted = status.get("desiredNumberScheduled", 0)
    rolling = (obj["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate"
    if rolling and (updated := status.get("updatedNumberScheduled", 0)) < wanted:
        return waiting(f"updated on {updated} of {wanted} nodes")
    if (available := status.get("numberAvailable", 0)) < wanted:
        return waiting(f"available on {available} of {wanted} nodes")
    return READY


def job(obj: dict[str, Any]) -> Verdict:
    """Completed. A suspended job is what was asked for."""
    if (end := condition(obj, "Complete")).get("status") == "True":
        return READY
    if (end := condition(obj, "Failed")).get("status") == "True":
        return failed(said(end))
    if obj["spec"].get("suspend"):
        return READY
    status = obj.get("status") or {}
    wanted = obj["spec"].get("completions") or 1
    return waiting(
        f"{status.get('succeeded', 0)} of {wanted} completions, {status.get('active', 0)} pods active, "
        f"{status.get('failed', 0)} failed"
    )
