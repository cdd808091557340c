"""The programs the sandbox is made of: which, at which version, where they are, and how they are built.

Everything is compiled from pinned Go modules into a per-user cache, once per lock. Nothing here starts a cluster.
"""

from gpu_sandbox.toolchain.cache import BIN_OVERRIDE, NotBuiltError, bin_dir, cache_root

__all__ = ["BIN_OVERRIDE", "NotBuiltError", "bin_dir", "cache_root"]
