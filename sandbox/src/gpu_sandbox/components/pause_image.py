"""The image that holds a pod's namespaces: one static program, compiled here, so that no registry is needed."""

from __future__ import annotations

import subprocess
from pathlib import Path

from gpu_sandbox import oci
from gpu_sandbox.components.model import Component, Context, ExitProbe, Group

PAUSE_IMAGE = "localhost/gpu-sandbox-pause:1"

# Process 1 of a pod: waits, ends on the signals that end a pod, and reaps what a shared process namespace leaves to it.
_SOURCE = """\
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int signal) { _exit(0); }
static void reap(int signal) { while (waitpid(-1, 0, WNOHANG) > 0) ; }

int main(void) {
    struct sigaction on_end = {.sa_handler = end};
    struct sigaction on_child = {.sa_handler = reap, .sa_flags = SA_NOCLDSTOP};
    sigaction(SIGINT, &on_end, 0);
    sigaction(SIGTERM, &on_end, 0);
    sigaction(SIGCHLD, &on_child, 0);
    for (;;) pause();
}
"""


def component(context: Context) -> Component:
    return Component(
        name="pause-image",
        group=Group.NODE,
        after=("containerd",),
        argv=(
            context.binary("ctr"),
            f"--address={context.paths.containerd_socket}",
            "--namespace=k8s.io",
            "images",
            "import",
            str(archive(context.paths.config)),
        ),
        ready=ExitProbe(),
    )


def archive(directory: Path) -> Path:
    return directory / "pause-image.tar"


def build(directory: Path) -> None:
    """Compile the program and write its image archive. Raises CalledProcessError with the compiler's words."""
    program = directory / "pause"
    subprocess.run(
        ["cc", "-static", "-Os", "-s", "-x", "c", "-o", str(program), "-"],
        input=_SOURCE,
        check=True,
        text=True,
        capture_output=True,
    )
    image = oci.Image(
        name=PAUSE_IMAGE,
        files={"pause": oci.File(program.read_bytes(), 0o755)},
        entrypoint=("/pause",),
        architecture=oci.machine_architecture(),
    )
    archive(directory).write_bytes(oci.archive(image))
    program.unlink()
