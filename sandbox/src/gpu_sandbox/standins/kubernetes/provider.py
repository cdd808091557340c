"""The gRPC face of the provider: reads requests, calls, maps results and errors. Decides nothing about Kubernetes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NoReturn

import grpc
from google.protobuf import any_pb2, empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2

from gpu_sandbox.standins.kubernetes.api import Api, ApiError, NoKindError, UnreachableError
from gpu_sandbox.standins.kubernetes.connection import KubeconfigError, cluster_identity, connect, load_config
from gpu_sandbox.standins.kubernetes.difference import Change, Difference, changed_paths, judge, render
from gpu_sandbox.standins.kubernetes.engine_log import EngineLog
from gpu_sandbox.standins.kubernetes.inputs import Naming, check
from gpu_sandbox.standins.kubernetes.lifecycle import InitFailedError, Lifecycle, RefusedError, Report
from gpu_sandbox.standins.kubernetes.objects import Objects, unreached_outputs
from gpu_sandbox.standins.kubernetes.releases import RELEASE, Releases, check_release
from gpu_sandbox.standins.kubernetes.settings import read_settings, refusals
from gpu_sandbox.standins.kubernetes.tokens import GroupVersionKind, TokenError, parse_token, unsupported
from gpu_sandbox.standins.kubernetes.values import decode, encode, plain
from gpu_sandbox.standins.kubernetes.waiting import StillThereError, Waiter
from gpu_sandbox.standins.plugin_server import abort

_MODES: dict[int, Literal["propose", "enforce", "disable"]] = {
    provider_pb2.CheckRequest.AutonamingOptions.PROPOSE: "propose",
    provider_pb2.CheckRequest.AutonamingOptions.ENFORCE: "enforce",
    provider_pb2.CheckRequest.AutonamingOptions.DISABLE: "disable",
}
_KINDS = {
    Change.ADD: (provider_pb2.PropertyDiff.ADD, provider_pb2.PropertyDiff.ADD_REPLACE),
    Change.DELETE: (provider_pb2.PropertyDiff.DELETE, provider_pb2.PropertyDiff.DELETE_REPLACE),
    Change.UPDATE: (provider_pb2.PropertyDiff.UPDATE, provider_pb2.PropertyDiff.UPDATE_REPLACE),
}
# Errors with a definite outcome: nothing was done. The engine takes Unknown and Internal as "may have happened" and
# leaves the resource pending, so those are kept for what nobody foresaw.
_DEFINITE = (ApiError, RefusedError, NoKindError, StillThereError, TokenError, KubeconfigError)


class KubernetesProvider(provider_pb2_grpc.ResourceProviderServicer):
    """One provider instance: one cluster, or none while its kubeconfig is not known."""

    def __init__(self, engine_address: str, version: str) -> None:
        self._log = EngineLog(engine_address)
        self._version = version
        self._cancelled = threading.Event()
        self._objects: Objects | None = None
        self._releases: Releases | None = None
        self._unusable = "the provider was not configured"

    def cancel(self) -> None:
        """End every wait."""
        self._cancelled.set()

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._log = EngineLog(request.engine_address)
        return provider_pb2.ProviderHandshakeResponse(
            accept_secrets=True, accept_resources=False, accept_outputs=False, supports_autonaming_configuration=True
        )

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        return plugin_pb2.PluginInfo(version=self._version)

    def GetSchema(self, request: Any, context: grpc.ServicerContext) -> Any:
        what = "the package schema, which generates code; with `pulumi import` add --generate-code=false"
        abort(context, grpc.StatusCode.UNIMPLEMENTED, unsupported(what))

    def CheckConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        inputs = decode(request.news)
        failures = refusals(inputs)
        settings = read_settings(inputs)
        if settings is not None and settings.kubeconfig is not None:
            try:
                load_config(settings)
            except KubeconfigError as error:
                failures["kubeconfig"] = str(error)
        return provider_pb2.CheckResponse(inputs=request.news, failures=_failures(failures))

    def DiffConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        old, new = decode(request.old_inputs or request.olds), decode(request.news)
        before, after = read_settings(old), read_settings(new)
        named_before, named_after = plain(old).get("clusterIdentifier"), plain(new).get("clusterIdentifier")
        if named_before or named_after:
            moved = named_before != named_after
        else:
            # A kubeconfig with new credentials does not move the objects to another cluster, and one that is not known
            # yet, or gone, is no reason to believe that they moved.
            servers = {cluster_identity(settings) if settings else None for settings in (before, after)}
            moved = None not in servers and len(servers) > 1
        paths = {render(path): change for path, change in changed_paths(old, new).items()}
        return _diff_response(Difference(paths, frozenset(paths) if moved else frozenset(), delete_first=False))

    def Configure(self, request: Any, context: grpc.ServicerContext) -> Any:
        settings = read_settings(decode(request.args))
        if settings is None:
            self._unusable = "the provider's kubeconfig is not known yet"
        else:
            try:
                api = Api(connect(settings))
                self._objects = Objects(api, settings, Waiter(api, self._cancelled))
                self._releases = Releases(settings)
            except KubeconfigError as error:
                # Told when something needs the cluster: a stack may configure a provider it does not use.
                self._unusable = str(error)
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True, supportsPreview=True, supports_autonaming_configuration=True
        )

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        with _mapped(context):
            kind = parse_token(request.type)
            options = request.autonaming
            naming = Naming(request.name, request.randomSeed, options.proposed_name, _MODES[options.mode])
            news, olds = decode(request.news), decode(request.olds)
            if kind == RELEASE:
                checked = check_release(news, olds, naming, self._objects.default_namespace if self._objects else None)
            else:
                namespace = self._objects.namespace_for(kind) if self._objects else None
                checked = check(kind, news, olds, naming, namespace)
        return provider_pb2.CheckResponse(inputs=encode(checked.inputs), failures=_failures(checked.failures))

    def Diff(self, request: Any, context: grpc.ServicerContext) -> Any:
        with _mapped(context):
            kind = parse_token(request.type)
            old, new = decode(request.old_inputs), decode(request.news)
            if self._objects is None:
                return _diff_response(judge(old, new, identity_changed=False, replaced_fields=()))
            return _diff_response(self._lifecycle(kind).diff(kind, request.id, old, new))

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        with _mapped(context):
            kind, inputs = parse_token(request.type), decode(request.properties)
            if request.preview and self._objects is None:
                return provider_pb2.CreateResponse(properties=encode(unreached_outputs(inputs)))
            found = self._lifecycle(kind).create(
                kind, inputs, seconds=request.timeout, preview=request.preview, report=self._report(request.urn)
            )
            return provider_pb2.CreateResponse(id=found.object_id, properties=encode(found.outputs))

    def Read(self, request: Any, context: grpc.ServicerContext) -> Any:
        with _mapped(context):
            kind = parse_token(request.type)
            found = self._lifecycle(kind).read(kind, request.id, decode(request.inputs), decode(request.properties))
            if found is None:
                return provider_pb2.ReadResponse()
            return provider_pb2.ReadResponse(
                id=found.object_id, properties=encode(found.outputs), inputs=encode(found.inputs)
            )

    def Update(self, request: Any, context: grpc.ServicerContext) -> Any:
        with _mapped(context):
            kind, inputs = parse_token(request.type), decode(request.news)
            if request.preview and self._objects is None:
                return provider_pb2.UpdateResponse(properties=encode(unreached_outputs(inputs)))
            found = self._lifecycle(kind).update(
                kind,
                request.id,
                inputs,
                decode(request.olds),
                seconds=request.timeout,
                preview=request.preview,
                report=self._report(request.urn),
            )
            return provider_pb2.UpdateResponse(properties=encode(found.outputs))

    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        with _mapped(context):
            kind = parse_token(request.type)
            self._lifecycle(kind).delete(
                kind,
                request.id,
                decode(request.old_inputs),
                decode(request.properties),
                seconds=request.timeout,
                report=self._report(request.urn),
            )
            return empty_pb2.Empty()

    def Invoke(self, request: Any, context: grpc.ServicerContext) -> Any:
        abort(context, grpc.StatusCode.UNIMPLEMENTED, unsupported(f"the function {request.tok}"))

    def Call(self, request: Any, context: grpc.ServicerContext) -> Any:
        abort(context, grpc.StatusCode.UNIMPLEMENTED, unsupported(f"the method {request.tok}"))

    def Construct(self, request: Any, context: grpc.ServicerContext) -> Any:
        abort(context, grpc.StatusCode.UNIMPLEMENTED, unsupported(f"the component {request.type}"))

    def Parameterize(self, request: Any, context: grpc.ServicerContext) -> Any:
        abort(
            context,
            grpc.StatusCode.UNIMPLEMENTED,
            unsupported("typed custom resources; use apiextensions.CustomResource"),
        )

    def Attach(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._log = EngineLog(request.address)
        return empty_pb2.Empty()

    def GetMapping(self, request: Any, context: grpc.ServicerContext) -> Any:
        return provider_pb2.GetMappingResponse()

    def GetMappings(self, request: Any, context: grpc.ServicerContext) -> Any:
        return provider_pb2.GetMappingsResponse()

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.cancel()
        return empty_pb2.Empty()

    def _lifecycle(self, kind: GroupVersionKind) -> Lifecycle:
        if self._objects is None or self._releases is None:
            raise KubeconfigError(self._unusable)
        return self._releases if kind == RELEASE else self._objects

    def _report(self, urn: str) -> Report:
        return Report(progress=lambda text: self._log.progress(urn, text), warn=lambda text: self._log.warn(urn, text))


@contextmanager
def _mapped(context: grpc.ServicerContext) -> Iterator[None]:
    """Errors as the engine understands them."""
    try:
        yield
    except InitFailedError as error:
        _abort_initialised(context, error)
    except UnreachableError as error:
        abort(context, grpc.StatusCode.UNAVAILABLE, str(error))
    except _DEFINITE as error:
        abort(context, grpc.StatusCode.FAILED_PRECONDITION, str(error))


def _abort_initialised(context: grpc.ServicerContext, error: InitFailedError) -> NoReturn:
    """The object was written: the engine records it together with why it does not work, and tries again next time."""
    detail = any_pb2.Any()
    detail.Pack(
        provider_pb2.ErrorResourceInitFailed(
            id=error.object_id, properties=encode(error.outputs), inputs=encode(error.inputs), reasons=error.reasons
        )
    )
    code = grpc.StatusCode.FAILED_PRECONDITION
    status = status_pb2.Status(code=code.value[0], message=str(error), details=[detail])
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    abort(context, code, str(error))


def _diff_response(difference: Difference) -> Any:
    detailed = {
        path: provider_pb2.PropertyDiff(kind=_KINDS[change][path in difference.replaces], inputDiff=True)
        for path, change in difference.changes.items()
    }
    return provider_pb2.DiffResponse(
        changes=provider_pb2.DiffResponse.DIFF_NONE if difference.empty else provider_pb2.DiffResponse.DIFF_SOME,
        replaces=sorted(difference.replaces),
        diffs=sorted({path.split(".")[0].split("[")[0] for path in difference.changes}),
        detailedDiff=detailed,
        hasDetailedDiff=True,
        deleteBeforeReplace=difference.delete_first,
    )


def _failures(failures: dict[str, str]) -> list[Any]:
    return [provider_pb2.CheckFailure(property=name, reason=reason) for name, reason in failures.items()]
