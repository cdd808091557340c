"""Runs this repository's Pulumi program on the sandbox: `up`, `destroy`, and recovery from an interrupted run."""
