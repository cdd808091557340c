"""The layout inputs of `DraDriver`, checked against the catalogue's reading of mig-parted files.

It checks that a layout file is valid and that the named layout is in it. Whether the layout fits is a question about
the boards of a node group, which the driver's inputs do not know; a stack does.
"""

from collections.abc import Iterator
from typing import Any

from eks_gpu_dra._checks import Problem, nearest
from gpu_catalog.layouts import LayoutError, MigPartedFile, builtin_mig_parted, parse_mig_parted


def check_layout_file(path: str, value: Any) -> Iterator[Problem]:
    """The text of a valid mig-parted v1 file."""
    if not isinstance(value, str) or not value.strip():
        yield Problem(path, f"{value!r} is not the text of a mig-parted v1 file")
    else:
        try:
            parse_mig_parted(value)
        except LayoutError as error:
            yield from (Problem(path, problem) for problem in error.problems)


def check_layout_name(path: str, value: Any, file_text: Any) -> Iterator[Problem]:
    """The name of a layout of the file, or of the built-in ones without a file. An invalid file is reported elsewhere."""
    if file_text is None:
        file, where = builtin_mig_parted(), "the built-in ones"
    else:
        parsed = _parsed(file_text)
        if parsed is None:
            return
        file, where = parsed, "mig_config_data"
    if value not in file.configs:
        yield Problem(path, f"{value!r} is not a layout of {where}: {nearest(value, file.configs)}")


def _parsed(text: Any) -> MigPartedFile | None:
    try:
        return parse_mig_parted(text) if isinstance(text, str) else None
    except LayoutError:
        return None
