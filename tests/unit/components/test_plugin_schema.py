"""The second door: the SDK must be able to infer a schema from the components, with a text for every input."""

import pytest
from pulumi.provider.experimental.analyzer import Analyzer

import eks_gpu_dra

COMPONENTS = (
    eks_gpu_dra.ClaimTemplates,
    eks_gpu_dra.DraDriver,
    eks_gpu_dra.FashionMnistTrio,
    eks_gpu_dra.MigDeviceClasses,
)


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.__name__)
def test_a_schema_can_be_inferred_and_every_property_is_described(component: type) -> None:
    found = Analyzer("eks-gpu-dra").analyze([component])["component_definitions"][component.__name__]
    assert found.description
    assert found.inputs
    assert found.outputs
    for properties in (found.inputs, found.outputs):
        assert [name for name, each in properties.items() if not each.description or "\n" in each.description] == []


def test_all_components_make_one_schema() -> None:
    definitions = Analyzer("eks-gpu-dra").analyze(list(COMPONENTS))["component_definitions"]
    assert definitions.keys() == {component.__name__ for component in COMPONENTS}
