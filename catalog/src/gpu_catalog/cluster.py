"""Reads the ResourceSlices, ResourceClaims and Pods of a live cluster. It only ever lists."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import yaml
from lightkube import ApiError, Client, KubeConfig
from lightkube.core.exceptions import ConfigError
from lightkube.resources.core_v1 import Pod
from lightkube.resources.resource_v1 import ResourceClaim, ResourceSlice


class ClusterError(Exception):
    """The cluster cannot be read; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class ClusterObjects:
    """What was read, in the API's JSON form."""

    slices: tuple[dict[str, Any], ...]
    claims: tuple[dict[str, Any], ...]
    pods: tuple[dict[str, Any], ...]


def read_cluster(kubeconfig: Path | None = None) -> ClusterObjects:
    """What the cluster of `kubeconfig` holds; without one, of the pod's own cluster, $KUBECONFIG or ~/.kube/config.

    Claims and pods of all namespaces are read, since any of them can hold a device. Raises ClusterError.
    """
    with _client(kubeconfig) as client:
        server = client.config.cluster.server
        try:
            return ClusterObjects(
                slices=tuple(each.to_dict() for each in client.list(ResourceSlice)),
                claims=tuple(each.to_dict() for each in client.list(ResourceClaim, namespace="*")),
                pods=tuple(each.to_dict() for each in client.list(Pod, namespace="*")),
            )
        except ApiError as error:
            if error.status.code == httpx2.codes.NOT_FOUND:
                needed = "Kubernetes 1.34 or later is needed"
                raise ClusterError(f"{server} does not serve resource.k8s.io/v1: {needed}") from None
            raise ClusterError(f"{server} refused to list devices, claims or pods: {error.status.message}") from None
        except httpx2.HTTPError as error:
            raise ClusterError(f"cannot reach {server}: {error}; is the cluster up, and KUBECONFIG its own?") from None


def _client(kubeconfig: Path | None) -> Client:
    try:
        config = KubeConfig.from_file(kubeconfig) if kubeconfig else KubeConfig.from_env()
        return Client(config, timeout=httpx2.Timeout(10.0))
    except (
        ConfigError,
        OSError,
        yaml.YAMLError,
        AssertionError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        # lightkube tells the first two by their own names; a malformed file ends in any of the others.
        where = f"kubeconfig {kubeconfig}" if kubeconfig else "the kubeconfig"
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ClusterError(f"cannot use {where}: {reason}; name one with --kubeconfig or KUBECONFIG") from None
