"""containerd: runs the containers, and injects devices from the sandbox's own CDI directory."""

from __future__ import annotations

from gpu_sandbox import network
from gpu_sandbox.components.model import Component, ConfigFile, Context, Group, SocketProbe
from gpu_sandbox.components.pause_image import PAUSE_IMAGE


def component(context: Context) -> Component:
    paths = context.paths
    config = paths.config / "containerd.toml"
    return Component(
        name="containerd",
        group=Group.NODE,
        argv=(context.binary("containerd"), "--config", str(config)),
        files=(
            ConfigFile(config, _config(context)),
            ConfigFile(paths.cni / "net.d" / "10-gpu-sandbox.conflist", network.cni_config(paths)),
        ),
        # The shim is found beside containerd, runc and the CNI plugins' helpers in the system's directories.
        environment={
            "PATH": f"{context.settings.bin_dir}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        },
        ready=SocketProbe(paths.containerd_socket),
    )


def _config(context: Context) -> str:
    paths = context.paths
    restrict = "false" if context.host.can_lower_oom_score else "true"
    return f"""\
version = 3
root = '{paths.containerd}'
state = '/run/containerd'
disabled_plugins = ['io.containerd.nri.v1.nri', 'io.containerd.tracing.processor.v1.otlp']
imports = []

[grpc]
  address = '{paths.containerd_socket}'

[ttrpc]
  address = '/run/containerd/containerd.sock.ttrpc'

[plugins.'io.containerd.internal.v1.opt']
  path = '{paths.containerd}/opt'

[plugins.'io.containerd.metadata.v1.bolt']
  no_sync = true

[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = '{PAUSE_IMAGE}'

[plugins.'io.containerd.cri.v1.runtime']
  cdi_spec_dirs = ['{paths.cdi}']
  # Profiles belong to the host's kernel, and one loaded for the sandbox would stay there.
  disable_apparmor = true
  # Where CAP_SYS_RESOURCE is missing, lowering a container's OOM score would fail its start.
  restrict_oom_score_adj = {restrict}
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['{network.CNI_BIN_DIR}']
    conf_dir = '{paths.cni}/net.d'
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      SystemdCgroup = false
"""
