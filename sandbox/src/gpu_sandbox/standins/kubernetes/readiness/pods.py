"""Pods: whether one works, and what keeps it from working, in the words of kubelet and scheduler. Pure."""

from typing import Any

from gpu_sandbox.standins.kubernetes.readiness.verdict import READY, Verdict, condition, failed, said, waiting


def pod(obj: dict[str, Any]) -> Verdict:
    """Ready, or done."""
    status = obj.get("status") or {}
    phase = status.get("phase")
    if phase == "Succeeded" or condition(obj, "Ready").get("status") == "True":
        return READY
    reasons = "; ".join(problems(obj))
    if phase == "Failed":
        return failed(reasons or said(status) or "the pod failed")
    return waiting(reasons or f"phase {phase or 'Pending'}")


def problems(obj: dict[str, Any]) -> list[str]:
    """What is wrong with a pod, most telling first; empty if nothing is."""
    status = obj.get("status") or {}
    found = []
    scheduled = condition(obj, "PodScheduled")
    if scheduled.get("status") == "False":
        found.append(scheduled.get("message") or said(scheduled))
    elif not scheduled and not (obj.get("spec") or {}).get("nodeName") and status.get("phase") == "Pending":
        found.append("the scheduler has not looked at it yet")
    states = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    found += [f"container {state.get('name')}: {problem}" for state in states if (problem := _container(state))]
    if not found and status.get("phase") == "Failed":
        found.append(said(status))
    return [text for text in found if text]


# Ordinary stations on the way up; not worth a word.
_STARTING = frozenset({"ContainerCreating", "PodInitializing"})


def _container(state: dict[str, Any]) -> str:
    current = state.get("state") or {}
    if (blocked := current.get("waiting")) and blocked.get("reason") not in _STARTING:
        last = ((state.get("lastState") or {}).get("terminated")) or {}
        ended = f" (last exit code {last['exitCode']}{_message(last)})" if "exitCode" in last else ""
        return said(blocked) + ended
    if (ended_now := current.get("terminated")) and ended_now.get("exitCode"):
        return f"exited with code {ended_now['exitCode']}{_message(ended_now)}"
    return ""


def _message(terminated: dict[str, Any]) -> str:
    text = terminated.get("message") or ""
    return f": {text.strip()}" if text else ""
