"""The sandbox's network, all of it inside its own namespace: one bridge for the pods, no way out.

The bridge's address is at once the pods' gateway, the node's address and the cluster's DNS. There is no interface
that leads to the host or beyond: other machines cannot reach the sandbox, pods cannot reach other machines, and the
host's interfaces, routes and firewall rules stay as they were.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from gpu_sandbox.settings import BRIDGE, NODE_IP, POD_SUBNET, SERVICE_SUBNET, StatePaths

CNI_BIN_DIR = Path("/usr/lib/cni")  # where Debian's containernetworking-plugins puts them
CNI_PLUGINS = ("bridge", "host-local", "portmap", "loopback")

_KERNEL_SETTINGS = {
    "net/ipv4/ip_forward": "1",
    # Pods on one bridge answer each other without passing the node's rules, unless the bridge hands frames to iptables.
    "net/bridge/bridge-nf-call-iptables": "1",
}


def set_up() -> None:
    """Make the interfaces and routes of a fresh network namespace (the caller's)."""
    prefix = POD_SUBNET.rsplit("/", maxsplit=1)[1]
    for command in (
        "link set lo up",
        f"link add {BRIDGE} type bridge",
        f"addr add {NODE_IP}/{prefix} dev {BRIDGE}",
        f"link set {BRIDGE} up",
        # Packets to a service need some route before kube-proxy's rules redirect them.
        f"route add {SERVICE_SUBNET} dev {BRIDGE}",
        # Anything else fails at once with "no route to host" instead of a time-out.
        "route add unreachable default",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    for name, value in _KERNEL_SETTINGS.items():
        Path("/proc/sys", name).write_text(value)


def remove_pod_interfaces() -> None:
    """Take away what pods left on the bridge."""
    shown = subprocess.run(
        ["ip", "-json", "link", "show", "master", BRIDGE], check=True, capture_output=True, text=True
    ).stdout
    for link in json.loads(shown or "[]"):
        subprocess.run(["ip", "link", "delete", link["ifname"]], check=False)


def cni_config(paths: StatePaths) -> str:
    """The CNI network list for the pods."""
    bridge = {
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": True,
        "hairpinMode": True,  # a pod may reach itself through its service
        "ipam": {
            "type": "host-local",
            "dataDir": str(paths.cni / "addresses"),
            "ranges": [[{"subnet": POD_SUBNET, "gateway": NODE_IP}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "1.0.0", "name": "gpu-sandbox", "plugins": [bridge, portmap]}, indent=2)
