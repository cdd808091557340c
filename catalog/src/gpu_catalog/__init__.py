"""What a GPU is: boards, MIG profiles and placements, layouts, and how a device is described to Kubernetes.

Facts and arithmetic alone. `boards`, `layouts`, `devices`, `slices` and `occupancy` read nothing but packaged data;
`picture`, `cluster` and `cli` need the extra `cli`. Importing the package itself imports none of them.
"""
