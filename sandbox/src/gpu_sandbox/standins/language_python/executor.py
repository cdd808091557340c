"""Runs one Pulumi program in the program's own interpreter.

Started by path, not imported: the program's environment holds the Pulumi SDK but need not hold this package. Connects
the SDK to the engine, runs the program inside the stack resource, waits for every resource operation and reports what
went wrong. Exit status: 0 done; 32 failed and the user has been told why; 1 the SDK reported the error.
"""

import argparse
import asyncio
import logging
import os
import runpy
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# What the language host reads as "failed, and the reason is already shown".
EXIT_REPORTED = 32

try:
    import pulumi
    import pulumi.runtime
except ImportError as missing:
    print(
        f"{sys.executable} cannot import the Pulumi SDK ({missing}).\n"
        "Install it into that environment (python -m pip install pulumi), or name the right environment in "
        "`runtime.options.virtualenv` of Pulumi.yaml.",
        file=sys.stderr,
    )
    sys.exit(EXIT_REPORTED)


def read_arguments() -> argparse.Namespace:
    """The run's facts; configuration comes in PULUMI_CONFIG, because command lines are public and it may hold secrets."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("monitor", "engine", "project", "stack", "organization", "root-directory", "working-directory"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--parallel", type=int, required=True)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("program")
    parser.add_argument("arguments", nargs="*")
    return parser.parse_args()


def program_traceback(error: BaseException, program: Path) -> str:
    """The traceback from the program's first frame on: frames of this file and of the SDK's runner help nobody."""
    entry = program if program.suffix else program / "__main__.py"
    frames = traceback.extract_tb(error.__traceback__)
    for index, frame in enumerate(frames):
        if Path(frame.filename).absolute() == entry:
            return "".join(
                traceback.format_exception(type(error), error, error.__traceback__, limit=index - len(frames))
            )
    return "".join(traceback.format_exception(error))


def run_program(program: Path) -> None:
    """Run the program as `__main__`; a directory without `__main__.py` is named as such."""
    if program.is_dir() and not (program / "__main__.py").exists():
        raise pulumi.RunError(f"unable to find main python program `__main__.py` in `{program}`")
    runpy.run_path(str(program), run_name="__main__")


def main() -> int:
    arguments = read_arguments()
    pulumi.runtime.set_all_config(pulumi.runtime.get_config_env(), pulumi.runtime.get_config_secret_keys_env())
    pulumi.runtime.configure(
        pulumi.runtime.Settings(
            monitor=arguments.monitor,
            engine=arguments.engine,
            project=arguments.project,
            stack=arguments.stack,
            parallel=arguments.parallel,
            dry_run=arguments.dry_run,
            organization=arguments.organization,
            root_directory=arguments.root_directory,
        )
    )
    program = Path(arguments.program).absolute()
    sys.argv = [arguments.program, *arguments.arguments]
    os.chdir(arguments.working_directory)

    # A failed program leaves futures that nobody awaits. That is how the SDK ends early, not a fault worth a warning
    # in the user's output.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    # The SDK makes each resource operation a blocking call in the default executor, so its size bounds parallelism.
    # Four per operation, because one resource may have several calls under way (invoke, register, hooks).
    workers = ThreadPoolExecutor(max_workers=max(arguments.parallel, 1) * 4)
    loop.set_default_executor(workers)
    try:
        loop.run_until_complete(pulumi.runtime.run_in_stack(lambda: run_program(program)))
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
        return 1
    except Exception as error:  # noqa: BLE001 - whatever the program raised is the user's to read
        pulumi.log.error(f"Program failed with an unhandled exception:\n{program_traceback(error, program)}")
        return EXIT_REPORTED
    finally:
        workers.shutdown(wait=True)
        loop.close()
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
