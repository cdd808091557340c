"""Pulumi's names for Kubernetes' things."""

import pytest

from gpu_sandbox.standins.kubernetes.spelling import from_api, to_api
from gpu_sandbox.standins.kubernetes.tokens import (
    GroupVersionKind,
    ObjectId,
    TokenError,
    parse_api_version,
    parse_id,
    parse_token,
)


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        ("kubernetes:core/v1:Namespace", GroupVersionKind("", "v1", "Namespace")),
        ("kubernetes:v1:ConfigMap", GroupVersionKind("", "v1", "ConfigMap")),
        ("kubernetes:apps/v1:Deployment", GroupVersionKind("apps", "v1", "Deployment")),
        (
            "kubernetes:resource.k8s.io/v1:ResourceClaimTemplate",
            GroupVersionKind("resource.k8s.io", "v1", "ResourceClaimTemplate"),
        ),
        ("kubernetes:helm.sh/v3:Release", GroupVersionKind("helm.sh", "v3", "Release")),
    ],
)
def test_tokens(token: str, kind: GroupVersionKind) -> None:
    assert parse_token(token) == kind


@pytest.mark.parametrize(
    "token",
    [
        "kubernetes:core/v1:NodePatch",
        "kubernetes:core/v1:PodList",
        "kubernetes:yaml:ConfigFile",
        "kubernetes:yaml/v2:ConfigGroup",
        "kubernetes:helm.sh/v4:Chart",
        "kubernetes:kustomize/v2:Directory",
    ],
)
def test_what_is_no_single_object_is_refused(token: str) -> None:
    with pytest.raises(TokenError, match=r"not supported by the sandbox's Kubernetes provider.*pulumi plugin install"):
        parse_token(token)


@pytest.mark.parametrize("token", ["aws:s3:Bucket", "kubernetes:core/v1", "", "kubernetes::Pod"])
def test_foreign_tokens(token: str) -> None:
    with pytest.raises(TokenError, match="no Kubernetes type"):
        parse_token(token)


@pytest.mark.parametrize("object_id", [ObjectId("", "a"), ObjectId("team", "a"), ObjectId("", "system:node")])
def test_ids_round_trip(object_id: ObjectId) -> None:
    assert parse_id(str(object_id)) == object_id


@pytest.mark.parametrize("text", ["", "team/", "a/b/c"])
def test_bad_ids(text: str) -> None:
    with pytest.raises(TokenError, match="expected NAMESPACE/NAME"):
        parse_id(text)


def test_api_versions() -> None:
    assert parse_api_version("v1", "Pod").api_version == "v1"
    assert parse_api_version("apps/v1", "Deployment").api_version == "apps/v1"


DEFINITION = GroupVersionKind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
PULUMI = {"a": [{"x_kubernetes_list_type": "map", "f:x_kubernetes_y": {}, "other_name-x": 1}]}
API = {"a": [{"x-kubernetes-list-type": "map", "f:x-kubernetes-y": {}, "other_name-x": 1}]}


def test_schemas_of_definitions_are_spelled_with_dashes() -> None:
    assert to_api(DEFINITION, PULUMI) == API
    assert from_api(DEFINITION, API) == PULUMI
    assert to_api(GroupVersionKind("", "v1", "ConfigMap"), PULUMI) == PULUMI
