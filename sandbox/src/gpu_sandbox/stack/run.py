"""Brings the sandbox stack up and down through the Pulumi CLI, repairing what an interrupted run left behind.

Pulumi keeps the salt of a stack's secrets in the stack's config file. The sandbox's belongs to one sandbox and not into
the repository, so the CLI is given a copy of `stacks/Pulumi.sandbox.yaml` with this sandbox's salt, beside its state.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpu_sandbox.stack.recovery import checkpoint_path, find_leftovers, mend_checkpoint

REPOSITORY = Path(__file__).resolve().parents[4]
PROJECT = "eks-gpu-dra"
STACK = "sandbox"
TRACKED_CONFIG = REPOSITORY / "stacks" / f"Pulumi.{STACK}.yaml"

_SALT = re.compile(r"^encryptionsalt:.*$", re.MULTILINE)


class StackError(Exception):
    """The CLI failed or another run holds the stack; the text says which and what to do."""


def with_salt(config: str, salted: str) -> str:
    """The config text with the salt of another; a config that has a salt of its own keeps it, with its secrets."""
    salt = _SALT.search(salted)
    if _SALT.search(config) or salt is None:
        return config
    return f"{salt[0]}\n{config}"


@dataclass(frozen=True)
class StackRunner:
    """The CLI with its environment (`gpu_sandbox.standins.environment`) and the folder of this sandbox's Pulumi."""

    environment: Mapping[str, str]
    home: Path
    say: Callable[[str], None]

    @property
    def backend(self) -> Path:
        return self.home / "backend"

    @property
    def _exists(self) -> bool:
        return checkpoint_path(self.backend, PROJECT, STACK).is_file()

    def _pulumi(self, *arguments: str, directory: Path = REPOSITORY) -> None:
        command = ["pulumi", "--cwd", str(directory), "--non-interactive", *arguments, "--stack", STACK]
        try:
            code = subprocess.run(command, env=dict(self.environment), check=False).returncode
        except FileNotFoundError as error:
            raise StackError("there is no `pulumi` program; `sandbox toolchain build` makes it") from error
        if code != 0:
            raise StackError(f"`pulumi {' '.join(arguments)}` ended with {code}; what it printed above says why")

    def _config(self) -> tuple[str, str]:
        """Make the stack if there is none, and the config file with its salt; returns the option that names it."""
        folder = self.home / "stack"
        salted = folder / f"Pulumi.{STACK}.yaml"
        if not self._exists or not salted.is_file():
            folder.mkdir(exist_ok=True)
            (folder / "Pulumi.yaml").write_text(f"name: {PROJECT}\nruntime: python\n")
            if not self._exists:
                salted.unlink(missing_ok=True)
                self._pulumi("stack", "init", directory=folder)
        config = folder / "config.yaml"
        config.write_text(with_salt(TRACKED_CONFIG.read_text(), salted.read_text() if salted.is_file() else ""))
        return "--config-file", str(config)

    def _mend(self) -> None:
        """What must be right before Pulumi is called at all."""
        held_by = find_leftovers(self.backend, PROJECT, STACK).held_by
        if held_by is not None:
            raise StackError(
                f"process {held_by} is running an update of this stack; wait for it or end it, then try again"
            )
        if mend_checkpoint(self.backend, PROJECT, STACK):
            self.say("an earlier run was killed while it wrote the stack's state; going on from the state before")

    def _repair(self, config: tuple[str, str]) -> None:
        leftovers = find_leftovers(self.backend, PROJECT, STACK)
        if leftovers.stale_locks:
            self.say("an earlier run was interrupted; releasing its lock")
            self._pulumi("cancel", "--yes")
        if leftovers.pending:
            self.say(
                f"an earlier run was interrupted with {len(leftovers.pending)} operations under way; reading back what is there"
            )
            self._pulumi("refresh", "--yes", "--skip-preview", "--clear-pending-creates", *config)

    def up(self, extra: Sequence[str] = ()) -> None:
        """`pulumi up` on the sandbox stack, which is created when it does not exist.

        Raises:
            StackError: the update failed, or another one is running.
        """
        self._mend()
        config = self._config()
        self._repair(config)
        self._pulumi("up", "--yes", "--skip-preview", *config, *extra)

    def preview(self, extra: Sequence[str] = ()) -> None:
        """`pulumi preview --diff` on the sandbox stack.

        Raises:
            StackError: the program or a policy failed.
        """
        self._mend()
        self._pulumi("preview", "--diff", *self._config(), *extra)

    def destroy(self, extra: Sequence[str] = ()) -> None:
        """`pulumi destroy`; a stack that does not exist is fine. Its history stays until `sandbox down`.

        Raises:
            StackError: something could not be destroyed.
        """
        self._mend()
        if not self._exists:
            self.say("no sandbox stack to destroy")
            return
        config = self._config()
        self._repair(config)
        self._pulumi("destroy", "--yes", "--skip-preview", *config, *extra)
