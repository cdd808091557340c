"""CoreDNS: the pods' name server, as a process of the node that listens on the bridge's address.

It answers for the cluster domain only. The sandbox has no way out to the internet, so any other name is refused at
once instead of timing out.
"""

from __future__ import annotations

from gpu_sandbox.components.model import Component, ConfigFile, Context, Group, HttpProbe
from gpu_sandbox.settings import CLUSTER_DOMAIN, NODE_IP


def component(context: Context) -> Component:
    config = context.paths.config / "Corefile"
    corefile = f"""\
.:53 {{
    bind {NODE_IP}
    errors
    ready 127.0.0.1:8181
    kubernetes {CLUSTER_DOMAIN} in-addr.arpa {{
        kubeconfig {context.kubeconfig("coredns")}
        pods verified
        ttl 5
    }}
}}
"""
    return Component(
        name="coredns",
        group=Group.NODE,
        after=("cluster-objects",),
        argv=(context.binary("coredns"), "-conf", str(config)),
        files=(ConfigFile(config, corefile),),
        ready=HttpProbe("http://127.0.0.1:8181/ready"),
    )
