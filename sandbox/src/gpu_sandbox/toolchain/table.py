"""Reads `sandbox/toolchain/toolchain.toml`, the one table of programs, versions and build flags, and derives cache keys.

A key covers everything that decides a binary's content: the tool's row, its module's go.mod and go.sum, and the flags.
Never builds and never looks at the cache.
"""

from __future__ import annotations

import hashlib
import json
import platform
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path


class TableError(Exception):
    """The toolchain table or a module folder is missing or malformed."""


@dataclass(frozen=True)
class Tool:
    """One program to build. `module` is a folder beside the table; `package` an import path inside that module graph."""

    name: str
    version: str
    module: str
    package: str
    tags: tuple[str, ...]
    ldflags: str
    unless_official: bool = False


@dataclass(frozen=True)
class Table:
    """The whole table. `folder` holds the module folders; `minimum_go` is a dotted Go version."""

    folder: Path
    minimum_go: str
    tools: tuple[Tool, ...]

    def modules(self) -> tuple[str, ...]:
        """Module folders in build order, each once."""
        return tuple(dict.fromkeys(tool.module for tool in self.tools))

    def tools_of(self, module: str) -> tuple[Tool, ...]:
        return tuple(tool for tool in self.tools if tool.module == module)

    def key(self, tool: Tool) -> str:
        """16 hex digits that change whenever the tool's binary would."""
        digest = hashlib.sha256(json.dumps([asdict(tool), platform.machine()], sort_keys=True).encode())
        for name in ("go.mod", "go.sum"):
            digest.update((self.folder / tool.module / name).read_bytes())
        return digest.hexdigest()[:16]

    def lock_key(self) -> str:
        """16 hex digits for the table as a whole: the name of the folder that holds all binaries of one lock."""
        return hashlib.sha256(" ".join(self.key(tool) for tool in self.tools).encode()).hexdigest()[:16]


def default_folder() -> Path:
    """`sandbox/toolchain` of the checkout this package is installed from."""
    return Path(__file__).resolve().parents[3] / "toolchain"


def load_table(folder: Path | None = None) -> Table:
    """Read the table.

    Raises:
        TableError: the file is absent (the package is not installed from a checkout) or a row lacks a field.
    """
    folder = folder or default_folder()
    path = folder / "toolchain.toml"
    if not path.is_file():
        raise TableError(f"{path} is missing: the sandbox builds its programs from a checkout of the repository")
    document = tomllib.loads(path.read_text())
    problems = []
    tools = []
    for position, row in enumerate(document.get("tool", [])):
        missing = [field for field in ("name", "version", "module", "package") if not row.get(field)]
        if missing:
            problems.append(f"tool {position} ({row.get('name', 'unnamed')}): no {', '.join(missing)}")
            continue
        module = row["module"]
        problems += [
            f"tool {row['name']}: {module}/{name} is missing; run `go mod tidy` in {folder / module}"
            for name in ("go.mod", "go.sum")
            if not (folder / module / name).is_file()
        ]
        tools.append(
            Tool(
                name=row["name"],
                version=row["version"],
                module=module,
                package=row["package"],
                tags=tuple(document.get("tags", {}).get(module, ())),
                ldflags=document.get("ldflags", {}).get(module, ""),
                unless_official=bool(row.get("unless_official", False)),
            )
        )
    if problems:
        raise TableError(f"{path}:\n  " + "\n  ".join(problems))
    return Table(folder=folder, minimum_go=document["go"], tools=tuple(tools))
