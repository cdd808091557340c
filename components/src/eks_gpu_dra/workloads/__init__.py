"""Workloads that show what the slices are for."""

from eks_gpu_dra.workloads.fashion_mnist import FashionMnistTrio, FashionMnistTrioArgs

__all__ = ["FashionMnistTrio", "FashionMnistTrioArgs"]
