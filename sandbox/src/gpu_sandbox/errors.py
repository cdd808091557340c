"""The one kind of exception a user of the sandbox sees: its text says what is wrong, where, and what to do."""

from __future__ import annotations


class SandboxError(Exception):
    """The sandbox is not, or cannot be brought, into the wanted state."""
