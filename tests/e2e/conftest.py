"""Every test here needs a whole cluster: the fixture `cluster` of tests/conftest.py, or one of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_sandbox import oci
from tests.sandboxes import RunningSandbox

BUSYBOX_IMAGE = "localhost/busybox:1"
_APPLETS = ("sh", "cat", "httpd", "ip", "ls", "nc", "nslookup", "ps", "sleep", "test", "wget")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def busybox_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of the host's static busybox, as an archive that `ctr images import` reads."""
    image = oci.Image(
        name=BUSYBOX_IMAGE,
        files={"bin/busybox": oci.File(Path("/bin/busybox").read_bytes(), 0o755)},
        links={f"bin/{applet}": "busybox" for applet in _APPLETS},
        environment={"PATH": "/bin"},
        architecture=oci.machine_architecture(),
    )
    archive = tmp_path_factory.mktemp("images") / "busybox.tar"
    archive.write_bytes(oci.archive(image))
    return archive


@pytest.fixture(scope="session")
def busybox(cluster: RunningSandbox, busybox_archive: Path) -> str:
    """The name of a small image that the shared cluster has."""
    cluster.import_image(busybox_archive)
    return BUSYBOX_IMAGE
