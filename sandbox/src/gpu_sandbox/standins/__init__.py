"""Stand-ins for Pulumi's plugins: a Python language host and a Kubernetes provider.

Owns what lets `pulumi up` run where the official binaries cannot be installed, and the Pulumi home that
chooses between the two. A stand-in is never placed where the official binary is found.
"""
