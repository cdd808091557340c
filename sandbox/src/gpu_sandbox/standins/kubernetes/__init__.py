"""A stand-in for `pulumi-resource-kubernetes`: any Kubernetes object, by server-side apply.

Owns the life of an object under Pulumi: check, diff, create, read, update, delete, and the wait until it works. It
knows no kind's schema: the API server validates. It does not render YAML, run invokes or host components (Chart v4,
ConfigGroup): those need Pulumi's own provider.
"""
