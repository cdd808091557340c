"""The container images the sandbox runs: the driver's, built from its own Dockerfile, and a small one for workloads.

Both stand on a base made by debootstrap, so no registry is needed. An image is named after the hash of everything it was
built from, so a change of one source line gives a new name and an unchanged tree builds nothing.
"""
