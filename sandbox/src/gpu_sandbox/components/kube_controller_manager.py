"""kube-controller-manager: the controllers that make pods, endpoints, service accounts and claims from templates."""

from __future__ import annotations

from gpu_sandbox.components.model import Component, Context, Group, api_probe
from gpu_sandbox.settings import SERVICE_SUBNET


def component(context: Context) -> Component:
    kubeconfig, pki = context.kubeconfig("controller-manager"), context.pki
    return Component(
        name="kube-controller-manager",
        group=Group.CONTROL_PLANE,
        after=("kube-apiserver",),
        argv=(
            context.binary("kube-controller-manager"),
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--bind-address=127.0.0.1",
            f"--tls-cert-file={pki('loopback.crt')}",
            f"--tls-private-key-file={pki('loopback.key')}",
            f"--client-ca-file={pki('ca.crt')}",
            f"--requestheader-client-ca-file={pki('front-proxy-ca.crt')}",
            f"--root-ca-file={pki('ca.crt')}",
            f"--service-account-private-key-file={pki('service-account.key')}",
            f"--service-cluster-ip-range={SERVICE_SUBNET}",
            "--use-service-account-credentials",
            # The default of the cluster's volume plugins, which it would make on the host, is /usr/libexec.
            f"--flex-volume-plugin-dir={context.paths.kubelet}/volume-plugins",
            # At the default of 20 requests a second its forty controllers take five seconds to start.
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            "--leader-elect=false",  # there is one, and waiting for a lease costs seconds at each start
            "--profiling=false",
        ),
        # A pod made before its service account exists is refused, so this, not /healthz, is what others wait for.
        ready=api_probe("/api/v1/namespaces/default/serviceaccounts/default"),
    )
