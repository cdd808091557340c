"""The `sandbox` command: a Kubernetes cluster with simulated GPUs on this machine, from up to down.

Parses arguments, calls the module that does the work, and prints. Imports that module only when its command runs, so
that help and completion answer at once.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from gpu_sandbox import settings as _settings
from gpu_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from gpu_sandbox.supervisor_control import Report

app = typer.Typer(
    name="sandbox",
    help="A real Kubernetes on this machine, with simulated NVIDIA GPUs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help is on the screen in half the time
)

StateDir = Annotated[
    Path,
    typer.Option(
        "--state-dir",
        envvar=_settings.STATE_DIR_ENV,
        help="Directory that holds everything of the sandbox.",
    ),
]
_DEFAULT = _settings.DEFAULT_STATE_DIR

_EXIT_DEGRADED = 1
_EXIT_NOT_RUNNING = 3


def _paths(state_dir: Path) -> _settings.StatePaths:
    return _settings.StatePaths(Path(os.path.abspath(state_dir)))  # noqa: PTH100  resolve() would follow links


def _fail(message: object, code: int = 1) -> NoReturn:
    typer.secho(f"sandbox: {message}", err=True, fg=typer.colors.RED)
    raise typer.Exit(code)


@app.command()
def up(  # noqa: PLR0917  typer passes by name
    state_dir: StateDir = _DEFAULT,
    api_port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port of the API server on 127.0.0.1.  [default: 6443]"),
    ] = None,
    board: Annotated[
        str | None, typer.Option(help="Which GPU is simulated, see `gpu-catalog boards`.  [default: a100-sxm4-40gb]")
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=1, max=16, help="How many of them.  [default: 8]")] = None,
    mig: Annotated[
        bool | None, typer.Option("--mig/--no-mig", help="Whether they start in MIG mode.  [default: mig]")
    ] = None,
    dns: Annotated[bool | None, typer.Option("--dns/--no-dns", help="Cluster DNS for pods.  [default: dns]")] = None,
) -> None:
    """Start the cluster, or finish a start that was interrupted. Does nothing to one that is ready."""
    import time  # noqa: PLC0415

    from gpu_sandbox import lifecycle  # noqa: PLC0415

    paths, began = _paths(state_dir), time.monotonic()
    options = lifecycle.Options(api_port=api_port, board=board, gpus=gpus, mig_enabled=mig, dns=dns)
    try:
        running = lifecycle.up(paths, options, typer.echo)
    except SandboxError as error:
        _fail(error)
    except KeyboardInterrupt:
        _fail("interrupted; run `sandbox up` again to go on, or `sandbox down` to remove what was started", 130)
    if running.was_running:
        typer.echo(f"the sandbox in {paths.root} is already up")
    else:
        typer.echo(f"the cluster is ready after {time.monotonic() - began:.1f} s")
    typer.echo(f"export KUBECONFIG={paths.kubeconfig}")


@app.command()
def down(
    state_dir: StateDir = _DEFAULT,
    keep_data: Annotated[bool, typer.Option("--keep-data", help="Keep the cluster's data for the next `up`.")] = False,
) -> None:
    """Stop the cluster and remove everything of it: processes, networks, control groups, data."""
    from gpu_sandbox import lifecycle  # noqa: PLC0415

    paths = _paths(state_dir)
    try:
        existed = lifecycle.down(paths, typer.echo, keep_data=keep_data)
    except SandboxError as error:
        _fail(error)
    typer.echo(f"the sandbox in {paths.root} is down" if existed else f"there is no sandbox in {paths.root}")


@app.command()
def status(
    state_dir: StateDir = _DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the components. Ends with 0 when all are ready, 1 when some are not, 3 when the sandbox is not running."""
    import json  # noqa: PLC0415

    from gpu_sandbox import lifecycle  # noqa: PLC0415
    from gpu_sandbox import status as reports  # noqa: PLC0415
    from gpu_sandbox.supervisor_control import NotRunning, Refused  # noqa: PLC0415
    from gpu_sandbox.supervisor_plan import Overall  # noqa: PLC0415

    paths = _paths(state_dir)
    try:
        settings = lifecycle.running_settings(paths)
        report = reports.read(paths, settings)
    except (lifecycle.NoSandboxError, NotRunning) as error:
        if as_json:
            typer.echo(json.dumps({"state": "down", "stateDir": str(paths.root)}))
            raise typer.Exit(_EXIT_NOT_RUNNING) from error
        _fail(f"not running: {error}", _EXIT_NOT_RUNNING)
    except (SandboxError, Refused) as error:
        _fail(error)
    if as_json:
        typer.echo(json.dumps(reports.to_json(settings, paths, report), indent=2))
    else:
        _print_table(settings, paths, report)
    raise typer.Exit(0 if report.overall is Overall.READY else _EXIT_DEGRADED)


def _print_table(settings: _settings.Settings, paths: _settings.StatePaths, report: Report) -> None:
    import time  # noqa: PLC0415

    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from gpu_sandbox import status as reports  # noqa: PLC0415

    table = Table("component", "state", "pid", "restarts", "for", "detail", box=None, pad_edge=False)
    now = time.time()
    for component in report.components:
        pid = str(component.pid or "")
        since = reports.duration(now - component.since)
        table.add_row(component.name, component.state, pid, str(component.restarts), since, component.detail)
    console = Console(width=None if sys.stdout.isatty() else 160, soft_wrap=not sys.stdout.isatty())
    console.print(
        f"sandbox {settings.sandbox_id} in {paths.root}: {report.overall}, "
        f"{settings.gpus} simulated {settings.product_name or settings.board}",
        highlight=False,
    )
    console.print(table)


@app.command()
def kubeconfig(
    state_dir: StateDir = _DEFAULT,
    content: Annotated[bool, typer.Option("--content", help="Print the file's content instead of its path.")] = False,
) -> None:
    """Print the path of the administrator's kubeconfig."""
    path = _paths(state_dir).kubeconfig
    if not path.is_file():
        _fail(f"there is no sandbox in {path.parent}; start one with `sandbox up`", _EXIT_NOT_RUNNING)
    typer.echo(path.read_text() if content else path, nl=not content)


@app.command()
def logs(
    component: Annotated[str, typer.Argument(help="Component, or supervisor.")] = "supervisor",
    state_dir: StateDir = _DEFAULT,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing what is added.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 100,
) -> None:
    """Print the log of a component."""
    paths = _paths(state_dir)
    log = paths.log(component)
    if not log.is_file():
        known = sorted(file.stem for file in paths.logs.glob("*.log"))
        _fail(f"no log of {component!r}; there are: {', '.join(known) or 'none'}")
    os.execvp("tail", ["tail", "-n", str(lines), *(("-F",) if follow else ()), str(log)])  # noqa: S606


@app.command()
def restart(
    component: Annotated[str, typer.Argument(help="Component, or `node` for a reboot of the node.")],
    state_dir: StateDir = _DEFAULT,
) -> None:
    """Restart one component; `node` acts like a reboot: containers end, /run and CDI specifications are gone."""
    from gpu_sandbox import lifecycle  # noqa: PLC0415
    from gpu_sandbox.supervisor_control import NotRunning, Refused  # noqa: PLC0415

    paths = _paths(state_dir)
    try:
        lifecycle.restart(paths, component, typer.echo)
    except NotRunning as error:
        _fail(f"not running: {error}", _EXIT_NOT_RUNNING)
    except (SandboxError, Refused) as error:
        _fail(error)


class _PassOn(TyperCommand):
    """A command whose arguments belong to another program, `--` and `--help` included."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # A first `--` only says that what follows is not for this command.
        ctx.args = args[1:] if args[:1] == ["--"] else list(args)
        return []


@app.command(cls=_PassOn)
def kubectl(context: typer.Context) -> None:
    """Run kubectl as the sandbox's administrator: sandbox kubectl get pods -A."""
    paths = _paths(_settings.state_dir_from_environment())
    environment = os.environ | {"KUBECONFIG": str(paths.kubeconfig)}
    _run(str(_require(paths).bin_dir / "kubectl"), context.args, environment)


@app.command(cls=_PassOn)
def ctr(context: typer.Context) -> None:
    """Run containerd's ctr on the sandbox's images and containers: sandbox ctr images ls."""
    paths = _paths(_settings.state_dir_from_environment())
    settings = _require(paths)
    arguments = [f"--address={paths.containerd_socket}", "--namespace=k8s.io", *context.args]
    _run(*_inside(paths, [str(settings.bin_dir / "ctr"), *arguments]))


@app.command(cls=_PassOn)
def enter(context: typer.Context) -> None:
    """Run a command on the node, inside the sandbox's namespaces: sandbox enter ip addr. A shell by default."""
    paths = _paths(_settings.state_dir_from_environment())
    _require(paths)
    _run(*_inside(paths, context.args or [os.environ.get("SHELL", "/bin/sh")]))


def _inside(paths: _settings.StatePaths, command: list[str]) -> tuple[str, list[str]]:
    from gpu_sandbox import supervisor_control  # noqa: PLC0415

    try:
        pid = supervisor_control.supervisor_pid(paths.control_socket)
    except supervisor_control.NotRunning as error:
        _fail(f"not running: {error}", _EXIT_NOT_RUNNING)
    namespaces = ("--mount", "--net", "--pid", "--uts", "--cgroup")
    program = shutil.which("nsenter")
    if program is None:
        _fail("nsenter is missing; on Debian: apt-get install util-linux")
    return program, ["--target", str(pid), *namespaces, "--", *command]


def _require(paths: _settings.StatePaths) -> _settings.Settings:
    try:
        settings = _settings.read_settings(paths)
    except _settings.SettingsError as error:
        _fail(error)
    if settings is None:
        _fail(f"there is no sandbox in {paths.root}; start one with `sandbox up`", _EXIT_NOT_RUNNING)
    return settings


def _run(program: str, arguments: list[str], environment: dict[str, str] | None = None) -> NoReturn:
    os.execve(program, [program, *arguments], environment or dict(os.environ))  # noqa: S606


@app.command(cls=_PassOn)
def show(context: typer.Context) -> None:
    """Draw the GPUs as slices, with who holds them."""
    paths = _paths(_settings.state_dir_from_environment())
    _require(paths)
    os.environ["KUBECONFIG"] = str(paths.kubeconfig)
    _run_part("gpu_catalog.cli:app", "sandbox", ["show", *context.args])


# Commands of the other parts of the sandbox: name -> where its typer app or function is, and what help says of it.
_PARTS = {
    "toolchain": ("gpu_sandbox.toolchain.cli:app", "Build and locate the pinned programs of the cluster."),
    "images": ("gpu_sandbox.images.cli:app", "Build the container images and load them into the sandbox."),
    "gpus": ("gpu_sandbox.gpus.cli:app", "Look at and disturb the simulated GPUs."),
    "stack": ("gpu_sandbox.stack.cli:app", "Deploy this repository's Pulumi program to the sandbox."),
    "pulumi": ("gpu_sandbox.standins.cli:pulumi_command", "Run Pulumi against the sandbox: sandbox pulumi -- up."),
}


def _run_part(target: str, name: str, arguments: list[str]) -> None:
    module_name, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        _fail(f"this installation lacks {error.name}, which `{name}` needs")
    part = getattr(module, attribute)
    if not isinstance(part, typer.Typer):
        function, part = part, typer.Typer(add_completion=False)
        part.command(context_settings=module.CONTEXT_SETTINGS)(function)
    part(arguments, prog_name=name)


def _add_part(name: str, target: str, summary: str) -> None:
    def run(context: typer.Context) -> None:
        _run_part(target, f"sandbox {name}", context.args)

    app.command(name, help=summary, cls=_PassOn)(run)


for _name, (_target, _summary) in _PARTS.items():
    _add_part(_name, _target, _summary)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
