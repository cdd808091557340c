"""Which control group hierarchies count, told from mountinfo as real hosts have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_sandbox.cgroups import Hierarchy, parse_mountinfo

_V1 = """\
29 1 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
30 1 0:27 / /sys/fs/cgroup/memory rw,nosuid shared:10 - cgroup cgroup rw,memory
31 1 0:28 / /sys/fs/cgroup/systemd rw,nosuid - cgroup cgroup rw,xattr,name=systemd
"""
_V2 = "29 1 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
_HYBRID_V2 = "58 48 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"
_NAMED = "31 1 0:28 / /sys/fs/cgroup/systemd rw,nosuid - cgroup cgroup rw,xattr,name=systemd\n"
_OTHER = "1 0 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n2 1 0:5 / /my\\040dir rw - tmpfs none rw\n"


@pytest.mark.parametrize(
    ("mountinfo", "expected"),
    [
        pytest.param(
            _OTHER + _V1,
            [("cpu,cpuacct", "cpu,cpuacct"), ("memory", "memory"), ("systemd", "name=systemd")],
            id="v1",
        ),
        pytest.param(_OTHER + _V2, [("", "")], id="v2"),
        pytest.param(
            _V1 + _HYBRID_V2,
            [("cpu,cpuacct", "cpu,cpuacct"), ("memory", "memory"), ("systemd", "name=systemd")],
            id="hybrid: controllers are in v1",
        ),
        pytest.param(_NAMED + _V2, [("", "")], id="v2 beside a named v1 without controllers"),
        pytest.param(
            _V1 + _V1,
            [("cpu,cpuacct", "cpu,cpuacct"), ("memory", "memory"), ("systemd", "name=systemd")],
            id="mounted twice",
        ),
        pytest.param(_OTHER, [], id="none"),
    ],
)
def test_parse_mountinfo(mountinfo: str, expected: list[tuple[str, str]]) -> None:
    root = Path("/sys/fs/cgroup")
    assert list(parse_mountinfo(mountinfo)) == [Hierarchy(root / name, options) for name, options in expected]
