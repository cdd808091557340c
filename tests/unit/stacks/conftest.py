"""Puts the Pulumi program's folder on the path, as Pulumi does when it runs the program."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "stacks"))
