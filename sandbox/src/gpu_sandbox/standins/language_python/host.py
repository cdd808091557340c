"""The gRPC face of the language host: reads requests, starts processes, maps their ends to answers."""

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import grpc
from google.protobuf import empty_pb2, json_format
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

from gpu_sandbox.standins.language_python import executor
from gpu_sandbox.standins.language_python.analyzer_proxy import AnalyzerProxy
from gpu_sandbox.standins.language_python.children import Children, Chunk
from gpu_sandbox.standins.language_python.commands import (
    NotRunnableError,
    pack_command,
    plugin_environment,
    program_command,
    program_environment,
    resource_plugin_command,
)
from gpu_sandbox.standins.language_python.interpreter import (
    Interpreter,
    RuntimeOptionsError,
    check_options,
    find_interpreter,
)
from gpu_sandbox.standins.plugin_server import abort

# Prints the distributions of an environment as JSON: name, version, whether another one requires it.
_LIST_DISTRIBUTIONS = """
import importlib.metadata, json, re
found = {re.sub(r"[-_.]+", "-", d.metadata["Name"]).lower(): d for d in importlib.metadata.distributions()}
required = {re.sub(r"[-_.]+", "-", re.match(r"[\\w.-]+", r)[0]).lower() for d in found.values() for r in d.requires or []}
print(json.dumps([[n, d.version, n in required] for n, d in sorted(found.items())]))
"""


class LanguageHost(language_pb2_grpc.LanguageRuntimeServicer):
    """One host process. The engine starts one for metadata and one per operation."""

    def __init__(self, engine_address: str) -> None:
        self._engine = engine_address
        self._children = Children()

    def stop_children(self) -> None:
        """End every program and plugin this host started."""
        self._children.stop()

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._engine = request.engine_address
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        return plugin_pb2.PluginInfo(version=importlib.metadata.version("pulumi"))

    def About(self, request: Any, context: grpc.ServicerContext) -> Any:
        interpreter = self._interpreter(request.info, context)
        version = subprocess.run(
            [interpreter.executable, "-c", "import platform; print(platform.python_version())"],
            check=False,
            capture_output=True,
            text=True,
        ).stdout.strip()
        return language_pb2.AboutResponse(
            executable=str(interpreter.executable),
            version=version,
            metadata={"host": f"stand-in on Python {platform.python_version()}"},
        )

    def GetRequiredPlugins(self, request: Any, context: grpc.ServicerContext) -> Any:
        return language_pb2.GetRequiredPluginsResponse()

    def GetRequiredPackages(self, request: Any, context: grpc.ServicerContext) -> Any:
        # Deliberately none: each package named here makes the engine try to download a plugin before it starts,
        # whether the program uses it or not. What a program really uses is still found when it is first used.
        return language_pb2.GetRequiredPackagesResponse()

    def GetProgramDependencies(self, request: Any, context: grpc.ServicerContext) -> Any:
        interpreter = self._interpreter(request.info, context)
        listing = subprocess.run(
            [interpreter.executable, "-c", _LIST_DISTRIBUTIONS], check=False, capture_output=True, text=True
        )
        if listing.returncode:
            abort(context, grpc.StatusCode.INTERNAL, f"{interpreter.executable}: {listing.stderr}")
        return language_pb2.GetProgramDependenciesResponse(
            dependencies=[
                language_pb2.DependencyInfo(name=name, version=version)
                for name, version, required_by_another in json.loads(listing.stdout)
                if request.transitiveDependencies or not required_by_another
            ]
        )

    def InstallDependencies(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        interpreter = self._interpreter(request.info, context)
        probe = subprocess.run(
            [interpreter.executable, "-c", "import pulumi, importlib.metadata as m; print(m.version('pulumi'))"],
            check=False,
            capture_output=True,
            text=True,
        )
        if probe.returncode:
            abort(
                context,
                grpc.StatusCode.FAILED_PRECONDITION,
                f"{interpreter.executable} has no Pulumi SDK, and this language host installs nothing. Install what "
                f"{request.directory} requires into that environment, e.g. `{interpreter.executable} -m pip install "
                "-r requirements.txt`, then run the command again.",
            )
        text = f"Using {interpreter.executable} with the Pulumi SDK {probe.stdout.strip()}; nothing installed.\n"
        yield language_pb2.InstallDependenciesResponse(stdout=text.encode())

    def RuntimeOptionsPrompts(self, request: Any, context: grpc.ServicerContext) -> Any:
        return language_pb2.RuntimeOptionsResponse()

    def Template(self, request: Any, context: grpc.ServicerContext) -> Any:
        return language_pb2.TemplateResponse()

    def Run(self, request: Any, context: grpc.ServicerContext) -> Any:
        options = _options(request.info)
        interpreter = self._interpreter(request.info, context)
        environment = program_environment(request, os.environ, interpreter)
        if checker := options.get("typechecker"):
            command = _typecheck_command(str(checker), interpreter, Path(request.info.program_directory))
            if self._children.run(command, cwd=Path(request.pwd), env=interpreter.activate(os.environ)):
                return language_pb2.RunResponse(error=f"{checker} found problems in the program; see its output above")
        command = program_command(request, self._engine, interpreter)
        status = self._children.run(command, cwd=Path(request.pwd), env=environment)
        if status == executor.EXIT_REPORTED:
            return language_pb2.RunResponse(bail=True)
        if status:
            ended = f"was ended by signal {-status}" if status < 0 else f"exited with non-zero exit code: {status}"
            return language_pb2.RunResponse(error=f"Program {ended}")
        return language_pb2.RunResponse()

    def RunPlugin(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        interpreter = self._interpreter(request.info, context)
        environment = plugin_environment(request.env, interpreter)
        directory = Path(request.info.program_directory)
        try:
            if request.kind == "analyzer":
                command = pack_command(directory, request.args[0] if request.args else self._engine, interpreter)
                yield from self._run_pack(command, directory, environment, context)
                return
            command = resource_plugin_command(directory, request.args, interpreter)
        except (NotRunnableError, OSError) as error:
            abort(context, grpc.StatusCode.FAILED_PRECONDITION, str(error))
        child = self._children.start(command, cwd=Path(request.pwd), env=environment)
        context.add_callback(child.stop)
        for chunk in child.output():
            yield _response(chunk)
        yield language_pb2.RunPluginResponse(exitcode=child.wait())

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._children.stop()
        return empty_pb2.Empty()

    def GenerateProgram(self, request: Any, context: grpc.ServicerContext) -> Any:
        _refuse_generation("converting or generating programs", context)

    def GenerateProject(self, request: Any, context: grpc.ServicerContext) -> Any:
        _refuse_generation("generating projects", context)

    def GeneratePackage(self, request: Any, context: grpc.ServicerContext) -> Any:
        _refuse_generation("generating an SDK", context)

    def Pack(self, request: Any, context: grpc.ServicerContext) -> Any:
        _refuse_generation("packing an SDK", context)

    def Link(self, request: Any, context: grpc.ServicerContext) -> Any:
        _refuse_generation("linking an SDK", context)

    def _run_pack(
        self, command: list[str], directory: Path, environment: Mapping[str, str], context: grpc.ServicerContext
    ) -> Iterator[Any]:
        proxy = AnalyzerProxy(lambda extra: self._children.start(command, cwd=directory, env={**environment, **extra}))
        context.add_callback(proxy.stop)
        yield language_pb2.RunPluginResponse(stdout=f"{proxy.port}\n".encode())
        while (chunk := proxy.output.get()) is not None:
            yield _response(chunk)
        yield language_pb2.RunPluginResponse(exitcode=proxy.exit_status())

    def _interpreter(self, info: Any, context: grpc.ServicerContext) -> Interpreter:
        root = Path(info.root_directory)
        options = _options(info)
        try:
            check_options(options, root)
            return find_interpreter(root, options, os.environ)
        except RuntimeOptionsError as error:
            abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))


def _options(info: Any) -> dict[str, Any]:
    options: dict[str, Any] = json_format.MessageToDict(info.options)
    return options


def _typecheck_command(checker: str, interpreter: Interpreter, program: Path) -> list[str]:
    exclude = ["--exclude", str(interpreter.virtual_env)] if checker == "mypy" and interpreter.virtual_env else []
    return [str(interpreter.executable), "-m", checker, *exclude, str(program)]


def _response(chunk: Chunk) -> Any:
    if chunk.stream == "stdout":
        return language_pb2.RunPluginResponse(stdout=chunk.data)
    return language_pb2.RunPluginResponse(stderr=chunk.data)


def _refuse_generation(what: str, context: grpc.ServicerContext) -> NoReturn:
    abort(
        context,
        grpc.StatusCode.UNIMPLEMENTED,
        f"{what} needs Pulumi's own Python language host; this stand-in runs programs, policy packs and plugins only",
    )
