"""etcd: the cluster's database, for the API server alone."""

from __future__ import annotations

from gpu_sandbox.components.model import Component, Context, Group, HttpProbe

URL = "https://127.0.0.1:2379"
_PEER_URL = "https://127.0.0.1:2380"
_METRICS_URL = "http://127.0.0.1:2381"


def component(context: Context) -> Component:
    return Component(
        name="etcd",
        group=Group.CONTROL_PLANE,
        argv=(
            context.binary("etcd"),
            "--name=gpu-sandbox",
            f"--data-dir={context.paths.etcd}",
            f"--listen-client-urls={URL}",
            f"--advertise-client-urls={URL}",
            f"--listen-peer-urls={_PEER_URL}",
            f"--initial-advertise-peer-urls={_PEER_URL}",
            f"--initial-cluster=gpu-sandbox={_PEER_URL}",
            f"--listen-metrics-urls={_METRICS_URL}",
            "--client-cert-auth",
            f"--trusted-ca-file={context.pki('etcd-ca.crt')}",
            f"--cert-file={context.pki('etcd.crt')}",
            f"--key-file={context.pki('etcd.key')}",
            "--peer-client-cert-auth",
            f"--peer-trusted-ca-file={context.pki('etcd-ca.crt')}",
            f"--peer-cert-file={context.pki('etcd.crt')}",
            f"--peer-key-file={context.pki('etcd.key')}",
            # A sandbox that loses its data with the machine's power is made anew; waiting for disks is not worth it.
            "--unsafe-no-fsync",
            "--log-level=warn",
        ),
        ready=HttpProbe(f"{_METRICS_URL}/readyz"),
    )
