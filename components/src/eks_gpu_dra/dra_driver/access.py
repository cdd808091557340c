"""What the driver's service account may do: the API rules, and the admission policy that holds it to its own node.

Only values in Kubernetes' own spelling; never a Pulumi resource. Each rule names the moment the driver needs it, so that
a rule without a moment is a rule to delete.
"""

from typing import Any

import pulumi

from eks_gpu_dra._args import joined
from eks_gpu_dra.device_classes import DRIVER_NAME


def cluster_role_rules() -> list[dict[str, Any]]:
    """Everything the driver may do in the cluster."""
    return [
        # get: kubelet hands over only a claim's name; the allocation is read from the API at every prepare.
        # list: after the loss of its checkpoint the driver asks which claims are allocated to its node.
        # No watch: the driver never follows claims. No write: the scheduler allocates, the driver does not.
        {"apiGroups": ["resource.k8s.io"], "resources": ["resourceclaims"], "verbs": ["get", "list"]},
        # The driver publishes this node's devices, and sees by its watch when kubelet or a person removes them.
        # RBAC cannot say "of this node": the admission policy below does.
        {
            "apiGroups": ["resource.k8s.io"],
            "resources": ["resourceslices"],
            "verbs": ["list", "watch", "create", "update", "delete"],
        },
        # The node's UID makes the node the owner of its slices, so that they go when the node goes.
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]},
    ]


def own_slices_policy(namespace: pulumi.Input[str], service_account: str) -> dict[str, Any]:
    """ValidatingAdmissionPolicy spec: this service account writes only slices of its own node and its own driver name.

    Without it, one stolen token of the DaemonSet could advertise devices on any node of the cluster. The node is the one
    the API server put into the token when kubelet asked for it (always, from Kubernetes 1.32 on), not a claim of
    the pod. It matches every API version of the slice: `matchPolicy` is Equivalent unless said otherwise.
    """
    return {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": ["resource.k8s.io"],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE", "UPDATE", "DELETE"],
                    "resources": ["resourceslices"],
                }
            ]
        },
        "matchConditions": [
            {
                "name": "is-the-drivers-service-account",
                "expression": joined(
                    "request.userInfo.username == 'system:serviceaccount:", namespace, f":{service_account}'"
                ),
            }
        ],
        "variables": [
            {
                "name": "tokenNode",
                "expression": "request.userInfo.?extra[?'authentication.kubernetes.io/node-name'][0].orValue('')",
            },
            # A DELETE has only the old object. For an UPDATE the new one is enough: nodeName and driver are immutable.
            {"name": "slice", "expression": "request.operation == 'DELETE' ? oldObject : object"},
            {"name": "sliceNode", "expression": "variables.slice.spec.?nodeName.orValue('')"},
        ],
        "validations": [
            {
                "expression": "variables.tokenNode != ''",
                "message": "The token names no node: only a pod's own token may write ResourceSlices.",
            },
            {
                "expression": "variables.sliceNode == variables.tokenNode",
                "messageExpression": "'The driver on node ' + variables.tokenNode + ' may not write a ResourceSlice of node ' + (variables.sliceNode == '' ? '(none)' : variables.sliceNode)",
            },
            {
                "expression": f"variables.slice.spec.driver == '{DRIVER_NAME}'",
                "messageExpression": f"'This service account publishes devices of {DRIVER_NAME}, not of ' + variables.slice.spec.driver",
            },
        ],
    }
