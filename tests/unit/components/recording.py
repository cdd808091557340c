"""Runs a Pulumi program against the SDK's mocks and records what it registers, parents and dependencies included."""

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi.runtime.mocks import MockMonitor, MockResourceArgs, Mocks


@dataclass(frozen=True)
class Registered:
    """One registered resource, its inputs in the spelling the engine gets."""

    type: str
    name: str
    inputs: dict[str, Any]
    parent: str
    provider: str
    depends_on: frozenset[str]


@dataclass
class Program:
    """Everything one run registered, in order."""

    resources: list[Registered] = field(default_factory=list)
    outputs: dict[str, list[Any]] = field(default_factory=dict)
    result: Any = None

    def __iter__(self) -> Iterator[Registered]:
        return iter(self.resources)

    def named(self, name: str) -> Registered:
        """The one resource of this logical name."""
        (found,) = [resource for resource in self.resources if resource.name == name]
        return found

    def of_kind(self, kind: str) -> list[Registered]:
        """The resources whose type token ends in this kind."""
        return [resource for resource in self.resources if resource.type.endswith(f":{kind}")]

    def children_of(self, name: str) -> set[str]:
        return {resource.name for resource in self.resources if resource.parent == name}


class _InThisThread(ThreadPoolExecutor):
    """Runs each call at once, in the caller's thread: the mocks would leave an open event loop behind in every worker."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - handed to whoever awaits the future
            future.set_exception(error)
        return future


def unknown() -> "pulumi.Output[Any]":
    """An output as a preview has it before the resource behind it exists."""
    value: asyncio.Future[Any] = asyncio.get_event_loop().create_future()
    value.set_result(None)
    known: asyncio.Future[bool] = asyncio.get_event_loop().create_future()
    known.set_result(False)
    return pulumi.Output(set(), value, known)


def run(program: Callable[[], Any], *, preview: bool = False) -> Program:
    """Runs the program; its return value, resolved, is `result`. Errors of components and applies are raised here."""
    recorded = Program()

    class _Mocks(Mocks):
        def call(self, args: Any) -> Any:
            raise AssertionError(f"a component asks the provider: {args.token}")

        def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
            return f"{args.name}-id", dict(args.inputs)

    class _Monitor(MockMonitor):
        def RegisterResource(self, request: Any) -> Any:
            if request.type != "pulumi:pulumi:Stack":
                recorded.resources.append(
                    Registered(
                        type=request.type,
                        name=request.name,
                        inputs=_plain(request.object),
                        parent=_name(request.parent),
                        provider=request.provider,
                        depends_on=frozenset(_name(urn) for urn in request.dependencies),
                    )
                )
            return super().RegisterResource(request)  # type: ignore[no-untyped-call]

        def RegisterResourceOutputs(self, request: Any) -> Any:
            recorded.outputs.setdefault(_name(request.urn), []).append(_plain(request.outputs))
            return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]

    loop = asyncio.new_event_loop()
    loop.set_default_executor(_InThisThread())
    # A program that fails leaves outputs behind that nobody awaits. They are not reported, as the SDK's own runner does not.
    loop.set_exception_handler(lambda _loop, _context: None)
    asyncio.set_event_loop(loop)
    try:
        mocks = _Mocks()
        pulumi.runtime.set_mocks(mocks, project="test", stack="test", preview=preview, monitor=_Monitor(mocks))

        def body() -> "pulumi.Output[None]":
            return pulumi.Output.from_input(program()).apply(lambda value: setattr(recorded, "result", value))

        pulumi.runtime.test(body)()  # type: ignore[no-untyped-call]
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    return recorded


def _plain(struct: Any) -> Any:
    """The request's Struct as Python values, whole numbers as int again."""
    from google.protobuf import json_format

    return json.loads(
        json.dumps(json_format.MessageToDict(struct)),
        parse_float=lambda text: int(float(text)) if float(text).is_integer() else float(text),
    )


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]
