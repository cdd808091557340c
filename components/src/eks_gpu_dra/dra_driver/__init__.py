"""The DRA driver in a cluster: `DraDriver` and what it is made of."""

from eks_gpu_dra.dra_driver.component import DraDriver, DraDriverArgs

__all__ = ["DraDriver", "DraDriverArgs"]
