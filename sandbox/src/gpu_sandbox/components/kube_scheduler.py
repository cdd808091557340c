"""kube-scheduler: places pods and allocates their claims."""

from __future__ import annotations

from gpu_sandbox.components.model import Component, Context, Group, HttpProbe


def component(context: Context) -> Component:
    kubeconfig, pki = context.kubeconfig("scheduler"), context.pki
    return Component(
        name="kube-scheduler",
        group=Group.CONTROL_PLANE,
        after=("kube-apiserver",),
        argv=(
            context.binary("kube-scheduler"),
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--bind-address=127.0.0.1",
            f"--tls-cert-file={pki('loopback.crt')}",
            f"--tls-private-key-file={pki('loopback.key')}",
            f"--client-ca-file={pki('ca.crt')}",
            f"--requestheader-client-ca-file={pki('front-proxy-ca.crt')}",
            "--leader-elect=false",
            "--profiling=false",
        ),
        ready=HttpProbe("https://127.0.0.1:10259/readyz"),
    )
