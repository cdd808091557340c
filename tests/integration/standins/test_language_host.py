"""The Python language host under the real engine: programs, failures, policy packs, component plugins."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from tests.integration.standins.stacks import Kubectl, Stack

pytestmark = pytest.mark.integration

PACK = """
    import pulumi
    import pulumi_policy

    def wide(args, report):
        if args.resource_type == "kubernetes:core/v1:ConfigMap" and args.props["data"]["mode"] == "wide":
            where = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
            report(f"wide is not for {where}, region {pulumi.Config('ruled').get('region')}, preview {pulumi.runtime.is_dry_run()}")

    pulumi_policy.PolicyPack("narrow", policies=[
        pulumi_policy.ResourceValidationPolicy("no-wide", "Nothing wide.", wide)],
        enforcement_level=pulumi_policy.EnforcementLevel.MANDATORY)
"""

COMPONENT = """
    from typing import Optional, TypedDict
    import pulumi
    import pulumi_kubernetes as k8s
    from pulumi.provider.experimental import component_provider_host

    class GreetingArgs(TypedDict):
        namespace: pulumi.Input[str]
        text: pulumi.Input[str]

    class Greeting(pulumi.ComponentResource):
        loud: pulumi.Output[str]

        def __init__(self, name: str, args: GreetingArgs, opts: Optional[pulumi.ResourceOptions] = None):
            super().__init__("greeter:index:Greeting", name, args, opts)
            k8s.core.v1.ConfigMap(name, metadata={"name": name, "namespace": args["namespace"]},
                data={"text": args["text"]}, opts=pulumi.ResourceOptions(parent=self))
            self.loud = pulumi.Output.from_input(args["text"]).apply(str.upper)
            self.register_outputs({"loud": self.loud})

    if __name__ == "__main__":
        component_provider_host([Greeting], "greeter", version="0.1.0")
"""


def test_policy_pack_blocks_and_knows_its_stack(
    new_stack: Callable[[str], Stack], kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    pack = tmp_path / "pack"
    pack.mkdir()
    (pack / "PulumiPolicy.yaml").write_text("runtime: python\n")
    (pack / "__main__.py").write_text(dedent(PACK))
    stack = new_stack("ruled")
    stack.run("config", "set", "region", "north").ok()
    program = 'k8s.core.v1.ConfigMap("m", metadata={{"name": "m", "namespace": {!r}}}, data={{"mode": "{}"}})'
    stack.program(program.format(namespace, "wide"))

    refused = stack.run("preview", "--policy-pack", str(pack)).failed()
    assert "wide is not for organization/ruled/test, region north, preview True" in refused.text
    refused = stack.run("up", "--yes", "--skip-preview", "--policy-pack", str(pack)).failed()
    assert "preview False" in refused.text
    assert kubectl.get("configmap", "m", namespace) is None

    stack.program(program.format(namespace, "narrow"))
    stack.run("up", "--yes", "--skip-preview", "--policy-pack", str(pack)).ok()
    assert kubectl.get("configmap", "m", namespace) is not None


def test_pack_that_does_not_load_says_why(new_stack: Callable[[str], Stack], tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    pack.mkdir()
    (pack / "PulumiPolicy.yaml").write_text("runtime: python\n")
    (pack / "__main__.py").write_text("import no_such_module\n")
    stack = new_stack("broken")
    stack.program("")
    refused = stack.run("preview", "--policy-pack", str(pack)).failed()
    assert "No module named 'no_such_module'" in refused.text
    assert "the policy pack ended" in refused.text


def test_component_plugin(new_stack: Callable[[str], Stack], kubectl: Kubectl, namespace: str, tmp_path: Path) -> None:
    plugin = tmp_path / "greeter"
    plugin.mkdir()
    (plugin / "PulumiPlugin.yaml").write_text("runtime: python\n")
    (plugin / "__main__.py").write_text(dedent(COMPONENT))
    stack = new_stack("greeted")
    with (stack.directory / "Pulumi.yaml").open("a") as manifest:
        manifest.write(f"plugins:\n  providers:\n  - name: greeter\n    path: {plugin}\n")
    stack.program(
        f"""
        class Greeting(pulumi.ComponentResource):
            loud: pulumi.Output[str]

        greeting = Greeting("greeter:index:Greeting", "hello", {{"namespace": {namespace!r}, "text": "hi", "loud": None}}, remote=True)
        pulumi.export("loud", greeting.loud)
        """
    )
    stack.up().ok()
    assert stack.run("stack", "output", "loud").ok().text.strip() == "HI"
    made = kubectl.get("configmap", "hello", namespace)
    assert made is not None
    assert made["data"] == {"text": "hi"}
    assert "greeter:index:Greeting" in stack.run("package", "get-schema", str(plugin)).ok().text


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ('raise pulumi.RunError("not like this")', "error: not like this"),
        ("import sys\nsys.exit(3)", "Program exited with non-zero exit code: 3"),
        ("def inner():\n    raise ValueError('boom')\ninner()", "line 4, in inner\n"),
    ],
    ids=["import", "run-error", "exit", "traceback"],
)
def test_failing_programs(new_stack: Callable[[str], Stack], program: str, said: str) -> None:
    stack = new_stack("failing")
    stack.program(program)
    text = stack.run("preview").failed().text
    assert said in text
    assert "executor.py" not in text, "frames of the host help nobody"
    assert "KeyboardInterrupt" not in text


def test_runtime_options_are_honoured_or_refused(new_stack: Callable[[str], Stack]) -> None:
    stack = new_stack("options")
    stack.program('import sys\npulumi.export("prefix", sys.prefix)')
    manifest = stack.directory / "Pulumi.yaml"
    manifest.write_text("name: options\nruntime: {name: python, options: {virtualenv: gone}}\n")
    assert "virtualenv 'gone' has no bin/python" in stack.run("preview").failed().text
    manifest.write_text("name: options\nruntime: {name: python, options: {toolchain: poetry}}\n")
    assert "toolchain 'poetry' needs Pulumi's own language host" in stack.run("preview").failed().text

    # a program that fails its type check is not run
    (stack.directory / "__main__.py").write_text("count: int = 'many'\n")
    manifest.write_text("name: options\nruntime: {name: python, options: {typechecker: mypy}}\n")
    refused = stack.run("preview").failed().text
    assert "Incompatible types in assignment" in refused
    assert "mypy found problems in the program" in refused

    # an environment without the SDK: named, with what to do
    own = stack.directory / "own" / "bin"
    own.mkdir(parents=True)
    (own / "python").write_text('#!/bin/sh\nexec /usr/bin/env -i /usr/bin/python3 -S -E "$@"\n')
    (own / "python").chmod(0o755)
    manifest.write_text("name: options\nruntime: {name: python, options: {virtualenv: own}}\n")
    assert "cannot import the Pulumi SDK" in stack.run("preview").failed().text
