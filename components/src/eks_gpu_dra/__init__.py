"""GPU slicing on Amazon EKS through Dynamic Resource Allocation, as Pulumi components.

Each component works alone: `Component(name, args, opts)`, where `args` is a dictionary whose keys the component's
`Args` type documents.
"""

from eks_gpu_dra._args import InvalidInputs
from eks_gpu_dra.claim_templates import ClaimTemplates, ClaimTemplatesArgs, ClaimTemplateSpec
from eks_gpu_dra.dra_driver import DraDriver, DraDriverArgs
from eks_gpu_dra.mig_device_classes import MigDeviceClasses, MigDeviceClassesArgs
from eks_gpu_dra.workloads import FashionMnistTrio, FashionMnistTrioArgs

__all__ = [
    "ClaimTemplateSpec",
    "ClaimTemplates",
    "ClaimTemplatesArgs",
    "DraDriver",
    "DraDriverArgs",
    "FashionMnistTrio",
    "FashionMnistTrioArgs",
    "InvalidInputs",
    "MigDeviceClasses",
    "MigDeviceClassesArgs",
]
