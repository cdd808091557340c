"""Programs too long to stand inside a test. Text, because the engine runs them and nobody imports them."""

# One object of each kind a GPU stack is made of, written as users write: quantities not normalised, defaults left out.
# With `changed: true` in the stack's configuration, one property of several objects differs.
MANY_KINDS = """
namespace = pulumi.Config().require("namespace")
changed = pulumi.Config().get_bool("changed") or False
labels = {"app.kubernetes.io/name": "driver"}
# The API server runs alone: nobody rolls out, nobody collects.
alone = {"pulumi.com/skipAwait": "true", "pulumi.com/deletionPropagationPolicy": "background"}


def named(name: str) -> dict[str, object]:
    return {"name": name, "namespace": namespace, "annotations": alone, "labels": labels}


k8s.core.v1.ServiceAccount("driver", metadata=named("driver"))
k8s.rbac.v1.ClusterRole(
    "reader",
    metadata={"name": namespace},
    rules=[{"api_groups": ["resource.k8s.io"], "resources": ["resourceslices"], "verbs": ["get", "list"]}],
)
k8s.apps.v1.DaemonSet(
    "plugin",
    metadata=named("plugin"),
    spec={
        "selector": {"match_labels": labels},
        "update_strategy": {"type": "RollingUpdate", "rolling_update": {"max_surge": 1, "max_unavailable": 0}},
        "template": {
            "metadata": {"labels": labels, "annotations": {"revision": "2" if changed else "1"}},
            "spec": {
                "service_account_name": "driver",
                "host_network": False,
                "security_context": {},
                "tolerations": [{"operator": "Exists"}],
                "node_selector": {"nvidia.com/gpu.present": "true"},
                "volumes": [
                    {"name": "plugins", "host_path": {"path": "/plugins", "type": "DirectoryOrCreate"}},
                    {"name": "scratch", "empty_dir": {}},
                ],
                "containers": [
                    {
                        "name": "plugin",
                        "image": "example/driver:1",
                        "env": [
                            {"name": "NODE_NAME", "value_from": {"field_ref": {"field_path": "spec.nodeName"}}},
                            {"name": "EMPTY", "value": ""},
                        ],
                        "ports": [{"name": "http", "container_port": 8080}],
                        "liveness_probe": {"grpc": {"port": 51516}},
                        "resources": {"requests": {"cpu": "0.1", "memory": "0.5Gi"}, "limits": {"memory": "1024Mi"}},
                        "volume_mounts": [
                            {"name": "plugins", "mount_path": "/plugins"},
                            {"name": "scratch", "mount_path": "/scratch", "read_only": False},
                        ],
                    }
                ],
            },
        },
    },
)
k8s.resource.v1.ResourceClaimTemplate(
    "claim",
    metadata=named("claim"),
    spec={
        "spec": {
            "devices": {
                "requests": [
                    {
                        "name": "gpu",
                        "exactly": {
                            "device_class_name": "mig.example",
                            "selectors": [{"cel": {"expression": "device.driver == 'gpu.example'"}}],
                            "count": 2 if changed else 1,
                        },
                    }
                ],
                "constraints": [{"requests": ["gpu"], "match_attribute": "gpu.example/parent"}],
                "config": [
                    {
                        "requests": ["gpu"],
                        "opaque": {
                            "driver": "gpu.example",
                            "parameters": {"apiVersion": "a/v1", "kind": "C", "share": 3},
                        },
                    }
                ],
            }
        }
    },
)
k8s.core.v1.ResourceQuota(
    "quota", metadata=named("quota"), spec={"hard": {"requests.cpu": "1000m", "count/pods": "10"}}
)
k8s.core.v1.Service(
    "ports",
    metadata=named("ports"),
    spec={
        "selector": labels,
        "ports": [
            {"name": "http", "port": 80, "target_port": "http"},
            {"name": "dns", "port": 54 if changed else 53, "protocol": "UDP"},
        ],
    },
)
k8s.batch.v1.Job(
    "once",
    metadata=named("once"),
    spec={
        "backoff_limit": 0,
        "template": {
            "spec": {
                "restart_policy": "Never",
                "containers": [{"name": "main", "image": "example/job:2" if changed else "example/job:1"}],
            }
        },
    },
)
k8s.core.v1.Pod(
    "single",
    metadata=named("single"),
    spec={
        "containers": [
            {"name": "main", "image": "example/pod", "resources": {"limits": {"cpu": "3" if changed else "2000m"}}}
        ]
    },
)
k8s.admissionregistration.v1.ValidatingAdmissionPolicy(
    "policy",
    metadata={"name": namespace},
    spec={
        "match_constraints": {
            "resource_rules": [
                {
                    "api_groups": ["resource.k8s.io"],
                    "api_versions": ["v1"],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": ["resourceclaims"],
                }
            ]
        },
        "validations": [{"expression": "true", "message": "never"}],
    },
)
"""
