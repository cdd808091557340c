"""The gateway: carries connections from the host's 127.0.0.1 to the API server inside the namespace."""

from __future__ import annotations

import sys

from gpu_sandbox.components.model import Component, Context, Group, api_probe


def component(context: Context) -> Component:  # noqa: ARG001  every component is made from the context
    return Component(
        name="gateway",
        group=Group.CONTROL_PLANE,
        after=("kube-apiserver",),
        argv=(sys.executable, "-P", "-m", "gpu_sandbox.gateway"),
        takes_api_listener=True,
        ready=api_probe("/readyz"),
    )
