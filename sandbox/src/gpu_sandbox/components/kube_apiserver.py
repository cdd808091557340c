"""kube-apiserver: the Kubernetes API, with feature gates at their defaults as on EKS.

It listens inside the sandbox's network namespace only: on loopback for the components, on the bridge's address for the
pods (the `kubernetes` service points there). The host reaches it through gpu_sandbox.gateway.
"""

from __future__ import annotations

from gpu_sandbox.components import etcd
from gpu_sandbox.components.model import Component, Context, Group, api_probe
from gpu_sandbox.settings import CLUSTER_DOMAIN, INNER_API_PORT, NODE_IP, SERVICE_SUBNET


def component(context: Context) -> Component:
    pki = context.pki
    return Component(
        name="kube-apiserver",
        group=Group.CONTROL_PLANE,
        after=("etcd",),
        argv=(
            context.binary("kube-apiserver"),
            "--bind-address=0.0.0.0",  # of the namespace: loopback and the bridge, no interface of the host
            f"--advertise-address={NODE_IP}",
            f"--secure-port={INNER_API_PORT}",
            f"--tls-cert-file={pki('apiserver.crt')}",
            f"--tls-private-key-file={pki('apiserver.key')}",
            f"--etcd-servers={etcd.URL}",
            f"--etcd-cafile={pki('etcd-ca.crt')}",
            f"--etcd-certfile={pki('apiserver-etcd.crt')}",
            f"--etcd-keyfile={pki('apiserver-etcd.key')}",
            "--anonymous-auth=false",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--client-ca-file={pki('ca.crt')}",
            f"--service-cluster-ip-range={SERVICE_SUBNET}",
            f"--service-account-issuer=https://kubernetes.default.svc.{CLUSTER_DOMAIN}",
            f"--service-account-key-file={pki('service-account.pub')}",
            f"--service-account-signing-key-file={pki('service-account.key')}",
            f"--kubelet-certificate-authority={pki('ca.crt')}",
            f"--kubelet-client-certificate={pki('apiserver-kubelet.crt')}",
            f"--kubelet-client-key={pki('apiserver-kubelet.key')}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--requestheader-client-ca-file={pki('front-proxy-ca.crt')}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            f"--proxy-client-cert-file={pki('front-proxy.crt')}",
            f"--proxy-client-key-file={pki('front-proxy.key')}",
            "--profiling=false",
        ),
        ready=api_probe("/readyz"),
    )
