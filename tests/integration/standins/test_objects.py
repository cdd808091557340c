"""The life of objects under Pulumi: create, no change, update, replace, drift, conflict, import, destroy."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.standins.programs import MANY_KINDS
from tests.integration.standins.stacks import Kubectl, Stack

pytestmark = pytest.mark.integration

PASSWORD = "correct-horse-battery"

LIFE = """
    ns = {namespace!r}
    k8s.core.v1.ConfigMap("settings", metadata={{"name": "settings", "namespace": ns, "labels": {{"app.example/tier": "{tier}"}}}},
        data={{"mode": "{mode}"}})
    k8s.core.v1.ConfigMap("named", metadata={{"namespace": ns}}, data={{"mode": "{mode}"}})
    k8s.core.v1.Secret("login", metadata={{"name": "login", "namespace": ns}}, string_data={{"password": "{password}"}})
    k8s.core.v1.Service("door", metadata={{"name": "door", "namespace": ns}}, spec={{
        "ports": [{{"port": 80, "name": "http"}}, {{"port": 81, "name": "other"}}]}})
    k8s.rbac.v1.RoleBinding("grant", metadata={{"name": "grant", "namespace": ns}},
        role_ref={{"api_group": "rbac.authorization.k8s.io", "kind": "Role", "name": "{role}"}},
        subjects=[{{"kind": "ServiceAccount", "name": "default", "namespace": ns}}])
    k8s.resource.v1.DeviceClass("slices", metadata={{"name": ns, "annotations": {annotations!r}}},
        spec={{"selectors": [{{"cel": {{"expression": "device.driver == '{driver}'"}}}}]}})
"""


def life(namespace: str, **changes: Any) -> str:
    values = {"tier": "one", "mode": "a", "role": "reader", "driver": "gpu.example", "annotations": {}, **changes}
    return LIFE.format(namespace=namespace, password=PASSWORD, **values)


def test_life_of_objects(new_stack: Callable[[str], Stack], kubectl: Kubectl, namespace: str) -> None:
    stack = new_stack("life")

    # create
    stack.program(life(namespace))
    stack.run("up", "--yes").ok()
    settings = kubectl.get("configmap", "settings", namespace)
    assert settings is not None
    assert settings["data"] == {"mode": "a"}
    login = kubectl.get("secret", "login", namespace)
    assert login is not None
    assert base64.b64decode(login["data"]["password"]).decode() == PASSWORD
    door = kubectl.get("service", "door", namespace)
    assert door is not None
    assert [port["port"] for port in door["spec"]["ports"]] == [80, 81]
    [named] = [name for name in names(kubectl, namespace) if name.startswith("named-")]
    assert len(named) == len("named-") + 8

    # neither as text nor as the base64 the API server shows does the password reach the state
    stored = stack.stored_text()
    assert "settings" in stored
    assert PASSWORD not in stored
    assert base64.b64encode(PASSWORD.encode()).decode() not in stored

    # again: nothing to do
    stack.run("preview", "--expect-no-changes").ok()

    # update in place; the preview names the properties
    stack.program(life(namespace, tier="two", driver="other.example"))
    steps = stack.steps()
    assert {name: step["op"] for name, step in steps.items() if name != "life-test"} == {
        "settings": "update",
        "slices": "update",
    }
    assert list(steps["settings"]["detailedDiff"]) == ['metadata.labels["app.example/tier"]']
    assert list(steps["slices"]["detailedDiff"]) == ["spec.selectors[0].cel.expression"]
    stack.up().ok()
    updated = kubectl.get("configmap", "settings", namespace)
    assert updated is not None
    assert updated["metadata"]["labels"] == {"app.example/tier": "two"}
    assert updated["metadata"]["uid"] == settings["metadata"]["uid"]

    # replace: data of a ConfigMap by Pulumi's rule, roleRef because the API server calls it immutable
    stack.program(life(namespace, tier="two", driver="other.example", mode="b", role="writer"))
    ops = [step["op"] for step in stack.steps().values()]
    assert "update" not in ops
    stack.up().ok()
    replaced = kubectl.get("configmap", "settings", namespace)
    grant = kubectl.get("rolebinding", "grant", namespace)
    assert replaced is not None
    assert grant is not None
    assert replaced["metadata"]["uid"] != settings["metadata"]["uid"]
    assert grant["roleRef"]["name"] == "writer"
    [renamed] = [name for name in names(kubectl, namespace) if name.startswith("named-")]
    assert renamed != named, "an object with a generated name is replaced beside the old one, under a new name"

    # somebody else changes one object and deletes another; a refresh finds both and nothing more
    kubectl("label", "configmap", "settings", "-n", namespace, "app.example/tier=stolen", "--overwrite")
    kubectl("delete", "rolebinding", "grant", "-n", namespace)
    refreshed = stack.run("refresh", "--yes").ok().text
    assert "~ 1 updated\n    - 1 deleted\n    2 changes. 5 unchanged" in refreshed

    # the label has another owner now, so the preview says whose it is and how to take it back
    refused = stack.run("preview", "--diff").failed().text
    assert '"stolen" => "two"' in refused
    assert "'kubectl-label' has set .metadata.labels.app.example/tier to another value" in refused
    assert "pulumi.com/patchForce" in refused
    kubectl("label", "configmap", "settings", "-n", namespace, "app.example/tier-")
    stack.up().ok()
    settings = kubectl.get("configmap", "settings", namespace)
    assert settings is not None
    assert settings["metadata"]["labels"] == {"app.example/tier": "two"}
    assert kubectl.get("rolebinding", "grant", namespace) is not None

    # gone is gone
    stack.run("destroy", "--yes").ok()
    assert names(kubectl, namespace) == []
    assert kubectl.get("service", "door", namespace) is None
    assert kubectl.get("rolebinding", "grant", namespace) is None


def test_import_of_an_existing_object(new_stack: Callable[[str], Stack], kubectl: Kubectl, namespace: str) -> None:
    kubectl("create", "configmap", "found", "-n", namespace, "--from-literal=mode=a")
    stack = new_stack("adopt")
    stack.program("")
    token = "kubernetes:core/v1:ConfigMap"
    refused = stack.run("import", token, "found", "a/b/c", "--yes", "--generate-code=false").failed()
    assert "expected NAMESPACE/NAME" in refused.text
    stack.run("import", token, "found", f"{namespace}/found", "--yes", "--generate-code=false", "--protect=false").ok()

    stack.program(
        f'k8s.core.v1.ConfigMap("found", metadata={{"name": "found", "namespace": {namespace!r}}}, data={{"mode": "a"}})'
    )
    stack.run("preview", "--expect-no-changes").ok()

    # an object that is there and not ours is never taken over silently
    kubectl("create", "configmap", "other", "-n", namespace, "--from-literal=mode=a")
    stack.program(
        f'k8s.core.v1.ConfigMap("other", metadata={{"name": "other", "namespace": {namespace!r}}}, data={{"mode": "b"}})'
    )
    refused = stack.run("up", "--yes").failed()
    assert f"ConfigMap {namespace}/other already exists and is not in this stack's state" in refused.text
    untouched = kubectl.get("configmap", "other", namespace)
    assert untouched is not None
    assert untouched["data"] == {"mode": "a"}


def test_cluster_known_only_during_the_update(
    new_stack: Callable[[str], Stack], kubectl: Kubectl, namespace: str, kubeconfig: Path
) -> None:
    """As with a new EKS cluster: the first preview knows no kubeconfig, yet shows every object."""
    stack = new_stack("late")
    stack.program(
        f"""
        first = k8s.core.v1.ConfigMap("first", metadata={{"namespace": {namespace!r}}}, data={{}})
        late = k8s.Provider("late", kubeconfig=first.metadata.uid.apply(lambda _: open({str(kubeconfig)!r}).read()))
        k8s.core.v1.ConfigMap("second", metadata={{"name": "second", "namespace": {namespace!r}}},
            data={{"uid": first.metadata.uid}}, opts=pulumi.ResourceOptions(provider=late))
        """
    )
    assert set(stack.steps()) == {"late-test", "first", "late", "second"}
    stack.up().ok()
    second = kubectl.get("configmap", "second", namespace)
    assert second is not None
    assert second["data"]["uid"]
    stack.run("preview", "--expect-no-changes").ok()


def test_many_kinds_without_false_drift(new_stack: Callable[[str], Stack], namespace: str) -> None:
    """What the API server defaults, normalises and completes is no change; what it calls immutable is replaced."""
    stack = new_stack("many")
    stack.program(MANY_KINDS)
    stack.run("config", "set", "namespace", namespace).ok()
    stack.up().ok()
    assert "10 unchanged" in stack.run("refresh", "--yes", "--skip-preview").ok().text
    stack.run("preview", "--expect-no-changes").ok()

    stack.run("config", "set", "changed", "true").ok()
    steps = {name: (step["op"], list(step["detailedDiff"] or ())) for name, step in stack.steps().items()}
    assert steps == {
        "plugin": ("update", ["spec.template.metadata.annotations.revision"]),
        "ports": ("update", ["spec.ports[1].port"]),
        "claim": ("replace", ["spec.spec.devices.requests[0].exactly.count"]),
        "once": ("replace", ["spec.template.spec.containers[0].image"]),
        "single": ("replace", ["spec.containers[0].resources.limits.cpu"]),
    }
    stack.up().ok()
    stack.run("destroy", "--yes", "--skip-preview").ok()


def test_a_kind_and_its_first_object_in_one_update(
    new_stack: Callable[[str], Stack], kubectl: Kubectl, namespace: str
) -> None:
    group = f"{namespace}.example"
    stack = new_stack("kinds")
    stack.program(
        f"""
        kind = k8s.apiextensions.v1.CustomResourceDefinition("kind", metadata={{"name": "things.{group}"}}, spec={{
            "group": "{group}", "scope": "Namespaced", "names": {{"kind": "Thing", "plural": "things"}},
            "versions": [{{"name": "v1", "served": True, "storage": True, "schema": {{"open_apiv3_schema": {{
                "type": "object", "x_kubernetes_preserve_unknown_fields": True}}}}}}]}})
        k8s.apiextensions.CustomResource("thing", api_version="{group}/v1", kind="Thing", metadata={{"name": "first"}},
            spec={{"count": 3, "ratio": 0.5}}, opts=pulumi.ResourceOptions(depends_on=[kind]))
        """
    )
    stack.run("up", "--yes").ok()
    thing = kubectl.get(f"things.{group}", "first", "default")
    assert thing is not None
    assert thing["spec"] == {"count": 3, "ratio": 0.5}
    stack.run("preview", "--expect-no-changes").ok()
    stack.run("destroy", "--yes", "--skip-preview").ok()
    assert kubectl.get("customresourcedefinition", f"things.{group}", "") is None


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ('k8s.yaml.v2.ConfigGroup("group", yaml="apiVersion: v1")', "the component kubernetes:yaml/v2:ConfigGroup"),
        ('k8s.Provider("files", render_yaml_to_directory="out")', "rendering YAML instead of applying it"),
        (
            'k8s.core.v1.NamespacePatch("p", metadata={"name": "default", "labels": {"a": "b"}})',
            "NamespacePatch (a patch of an object owned by others)",
        ),
        (
            'k8s.apiextensions.CustomResource("c", api_version="v1", kind="ConfigMap", metadata={"name": "c"}, spec={})',
            ".spec: field not declared in schema",
        ),
        (
            'k8s.apiextensions.CustomResource("c", api_version="no.example/v1", kind="Thing", metadata={"name": "c"})',
            "the cluster does not serve Thing in no.example/v1",
        ),
        (
            'k8s.core.v1.ConfigMap("c", metadata={"name": "c", "namespace": "nowhere"})',
            "namespace 'nowhere' does not exist; create it in the program",
        ),
    ],
    ids=["component", "render", "patch", "misspelt", "unserved", "no-namespace"],
)
def test_refusals_say_what_to_do(new_stack: Callable[[str], Stack], program: str, said: str) -> None:
    stack = new_stack("refused")
    stack.program(program)
    assert said in stack.up().failed().text


def names(kubectl: Kubectl, namespace: str) -> list[str]:
    listed = kubectl("get", "configmaps", "-n", namespace, "-o", "name").split()
    return [name.removeprefix("configmap/") for name in listed if "kube-root-ca" not in name]
