"""Refusals in words that help."""

from gpu_sandbox.standins.kubernetes.api import ApiError, Cause
from gpu_sandbox.standins.kubernetes.explain import cannot_dry_run, explain
from gpu_sandbox.standins.kubernetes.tokens import GroupVersionKind, ObjectId

POD = GroupVersionKind("", "v1", "Pod")
TARGET = ObjectId("team", "a")


def test_a_conflict_names_owner_fields_and_the_way_out() -> None:
    causes = tuple(
        Cause("FieldManagerConflict", f'conflict with "{manager}" using apps/v1', field)
        for manager, field in [("kubectl-edit", ".spec.b"), ("kubectl-edit", ".spec.a"), ("other", ".data.x")]
    )
    text = explain(ApiError(409, "Conflict", "Apply failed", causes), POD, TARGET)
    assert "'kubectl-edit' has set .spec.a, .spec.b to another value; 'other' has set .data.x" in text
    assert "pulumi.com/patchForce" in text


def test_all_causes_of_an_invalid_object_are_told() -> None:
    causes = (Cause("Invalid", "must be positive", "spec.a"), Cause("Required", "is missing", "spec.b"))
    text = explain(ApiError(422, "Invalid", "long text", causes), POD, TARGET)
    assert text == "Pod team/a is refused (Invalid):\n  spec.a: must be positive\n  spec.b: is missing"


def test_other_refusals_keep_the_servers_words() -> None:
    assert explain(ApiError(403, "Forbidden", "denied by policy"), POD, TARGET) == "Pod team/a: denied by policy"
    assert "does not accept the kubeconfig's credentials" in explain(ApiError(401, "", "Unauthorized"), POD, TARGET)
    missing = ApiError(404, "NotFound", 'namespaces "team" not found')
    assert "namespace 'team' does not exist; create it in the program" in explain(missing, POD, TARGET)


def test_webhooks_that_refuse_dry_runs() -> None:
    assert cannot_dry_run(ApiError(400, "BadRequest", "admission webhook x does not support dry run"))
    assert not cannot_dry_run(ApiError(400, "BadRequest", "strict decoding error"))
