"""Image archives: a valid OCI layout, and the same bytes for the same content."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from typing import Any

import pytest

from gpu_sandbox.oci import File, Image, archive

_IMAGE = Image(
    name="localhost/thing:1",
    files={"bin/tool": File(b"#!", 0o755), "etc/deep/er/config": File(b"x")},
    links={"bin/alias": "tool"},
    entrypoint=("/bin/tool", "-v"),
    environment={"PATH": "/bin"},
)


@pytest.fixture
def members() -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive(_IMAGE))) as tar:
        return {m.name: f.read() for m in tar.getmembers() if (f := tar.extractfile(m)) is not None}


def _blob(members: dict[str, bytes], descriptor: dict[str, Any]) -> bytes:
    blob = members["blobs/" + descriptor["digest"].replace(":", "/")]
    assert descriptor["size"] == len(blob)
    assert descriptor["digest"] == "sha256:" + hashlib.sha256(blob).hexdigest()
    return blob


def test_the_chain_of_digests_holds(members: dict[str, bytes]) -> None:
    named = json.loads(members["index.json"])["manifests"][0]
    assert named["annotations"] == {"io.containerd.image.name": "localhost/thing:1"}
    manifest = json.loads(_blob(members, named))
    config = json.loads(_blob(members, manifest["config"]))
    layer = gzip.decompress(_blob(members, manifest["layers"][0]))
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(layer).hexdigest()]
    assert config["config"] == {"Entrypoint": ["/bin/tool", "-v"], "Env": ["PATH=/bin"]}


def test_the_layer_has_files_links_and_every_directory_before_its_content(members: dict[str, bytes]) -> None:
    manifest = json.loads(_blob(members, json.loads(members["index.json"])["manifests"][0]))
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(_blob(members, manifest["layers"][0])))) as layer:
        names = layer.getnames()
        assert names == ["bin", "etc", "etc/deep", "etc/deep/er", "bin/tool", "etc/deep/er/config", "bin/alias"]
        assert layer.getmember("bin/tool").mode == 0o755
        assert layer.getmember("bin/alias").linkname == "tool"


def test_the_same_content_gives_the_same_bytes() -> None:
    assert archive(_IMAGE) == archive(_IMAGE)
