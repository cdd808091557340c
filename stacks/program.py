"""Selects the stack shape. Owns the list of shapes and nothing of what a shape declares."""

import importlib

import config
import pulumi

from gpu_catalog.spelling import hint

# By module name, so that a shape's own dependencies are imported only when it is chosen.
SHAPES = {"sandbox": "sandbox"}


def declare() -> None:
    """Declares the resources of the shape that `<project>:shape` names. Raises ConfigError for an unknown one."""
    values = config.values(pulumi.get_project())
    shape = values.get("shape")
    source = config.source(pulumi.get_project(), pulumi.get_stack())
    if shape not in SHAPES:
        known = f"the shapes are: {', '.join(SHAPES)}"
        reason = (
            f"is missing; {known}"
            if shape is None
            else f"{shape!r} is no stack shape{hint(str(shape), SHAPES)}; {known}"
        )
        raise config.ConfigError(source, [config.Problem("shape", reason)])
    importlib.import_module(SHAPES[str(shape)]).declare(values, source)
