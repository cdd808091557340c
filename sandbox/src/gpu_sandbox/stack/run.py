"""Brings the sandbox stack up and down through the Pulumi CLI, repairing what an interrupted run left behind."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gpu_sandbox.stack.recovery import find_leftovers

REPOSITORY = Path(__file__).resolve().parents[4]
PROJECT = "eks-gpu-dra"
STACK = "sandbox"


class StackError(Exception):
    """The CLI failed or another run holds the stack; the text says which and what to do."""


@dataclass(frozen=True)
class StackRunner:
    """The CLI with its environment (`gpu_sandbox.standins.environment`) and the backend folder it writes to."""

    environment: Mapping[str, str]
    backend: Path
    say: Callable[[str], None]

    def _pulumi(self, *arguments: str) -> int:
        command = ["pulumi", "--cwd", str(REPOSITORY), "--non-interactive", *arguments]
        try:
            return subprocess.run(command, env=dict(self.environment), check=False).returncode
        except FileNotFoundError as error:
            raise StackError("there is no `pulumi` program; `sandbox toolchain build` makes it") from error

    def _must(self, *arguments: str) -> None:
        code = self._pulumi(*arguments)
        if code != 0:
            raise StackError(f"`pulumi {' '.join(arguments)}` ended with {code}; what it printed above says why")

    def _repair(self) -> None:
        leftovers = find_leftovers(self.backend, PROJECT, STACK)
        if leftovers.held_by is not None:
            raise StackError(
                f"process {leftovers.held_by} is running an update of this stack; wait for it or end it, then try again"
            )
        if leftovers.stale_locks:
            self.say("an earlier run was interrupted; releasing its lock")
            self._must("cancel", "--yes", "--stack", STACK)
        if leftovers.pending:
            self.say(
                f"an earlier run was interrupted with {len(leftovers.pending)} operations under way; reading back what is there"
            )
            self._must("refresh", "--yes", "--skip-preview", "--clear-pending-creates", "--stack", STACK)

    def up(self) -> None:
        """`pulumi up` on the sandbox stack, which is created when it does not exist.

        Raises:
            StackError: the update failed, or another one is running.
        """
        self._must("stack", "select", "--create", STACK)
        self._repair()
        self._must("up", "--yes", "--skip-preview", "--stack", STACK)

    def destroy(self) -> None:
        """`pulumi destroy`; a stack that does not exist is fine. Its history stays until `sandbox down`.

        Raises:
            StackError: something could not be destroyed.
        """
        if not (self.backend / ".pulumi/stacks" / PROJECT / f"{STACK}.json").is_file():
            self.say("no sandbox stack to destroy")
            return
        self._repair()
        self._must("destroy", "--yes", "--skip-preview", "--stack", STACK)
