"""A Kubernetes DRA kubelet plugin for NVIDIA GPUs and MIG devices."""

DRIVER_NAME = "gpu.nvidia.com"
