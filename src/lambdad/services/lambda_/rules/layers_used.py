"""Which layer versions one function may refer to together.

Source: Lambda developer guide, "Managing Lambda dependencies with layers".
"""

from collections.abc import Sequence

from lambdad.model import arn, limits
from lambdad.model.function import LayerReference
from lambdad.services.lambda_ import errors


def check(arns: Sequence[str], region: str) -> None:
    """
    Check the list itself; whether the layer versions exist is asked afterwards.

    Raises:
        InvalidParameterValue: too many, two versions of one layer, or a layer of another region.
    """
    if len(arns) > limits.LAYERS_PER_FUNCTION:
        raise errors.InvalidParameterValue(f"Cannot reference more than {limits.LAYERS_PER_FUNCTION} layers.")
    seen: dict[str, str] = {}
    for layer_version_arn in arns:
        layer_arn = layer_version_arn.rpartition(":")[0]
        if layer_arn in seen:
            raise errors.InvalidParameterValue(
                "Two different versions of the same layer are not allowed to be referenced in the same function. "
                f"{seen[layer_arn]} and {layer_version_arn} are versions of the same layer."
            )
        seen[layer_arn] = layer_version_arn
    for layer_version_arn in arns:
        reference = arn.parse_layer_version(layer_version_arn)
        if reference is not None and reference.region != region:
            raise errors.InvalidParameterValue(
                f"Layers are not in the same region as the function. Layers are expected to be in region {region}."
            )


def check_size(code_unzipped_bytes: int, layers: Sequence[LayerReference]) -> None:
    """
    Check that code and layers together may be unpacked.

    Raises:
        InvalidParameterValue: they are larger than 250 MiB.
    """
    total = code_unzipped_bytes + sum(layer.unzipped_bytes for layer in layers)
    if layers and total > limits.UNZIPPED_BYTES:
        raise errors.InvalidParameterValue(
            f"Function code combined with layers exceeds the maximum allowed size of {limits.UNZIPPED_BYTES} bytes. "
            f"The actual size is {total} bytes."
        )
