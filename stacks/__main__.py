"""Entry point of the Pulumi program: declares the stack shape that the configuration names."""

import program

program.declare()
