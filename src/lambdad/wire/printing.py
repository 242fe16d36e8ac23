"""How AWS's front end, which is Java, prints values and paths in its validation messages."""

from datetime import UTC
from typing import Any

from lambdad.wire.service_model import Ref


def lower_camel(name: str) -> str:
    """
    Return a member's name as a path has it: ``VpcConfig`` is ``vpcConfig``, ``KMSKeyArn`` is ``kMSKeyArn``.

    Only the first letter changes.
    """
    return name[:1].lower() + name[1:]


def print_number(value: float, shape_type: str) -> str:
    """Print a limit: a double has a fraction, an integer has none."""
    return repr(float(value)) if shape_type in ("float", "double") else str(int(value))


def is_sensitive(ref: Ref) -> bool:
    """Whether a value, or the elements of a list or map, may not be printed."""
    shape = ref.shape
    inside = (shape.member, shape.key, shape.value)
    return bool(ref.trait("sensitive")) or any(part is not None and part.trait("sensitive") for part in inside)


def print_value(value: Any, ref: Ref) -> str:
    """Print a typed value as Java does: ``[a, b]``, ``{2=2.0}``, ``Tag(key=a, value=null)``, ``true``."""
    if value is None:
        return "null"
    shape = ref.shape
    match shape.type:
        case "structure":
            members = (f"{lower_camel(name)}={_print_member(value.get(name), member)}" for name, member in shape.members.items())
            return f"{shape.name}({', '.join(members)})"
        case "list":
            return "[" + ", ".join(print_value(item, shape.element) for item in value) + "]"
        case "map":
            item_ref = shape.entry[1]
            return "{" + ", ".join(f"{key}={print_value(item, item_ref)}" for key, item in value.items()) + "}"
        case "boolean":
            return "true" if value else "false"
        case "float" | "double":
            return repr(float(value))
        case "blob":
            return f"java.nio.HeapByteBuffer[pos=0 lim={len(value)} cap={len(value)}]"
        case "timestamp":
            return str(value.astimezone(UTC).strftime("%a %b %d %H:%M:%S UTC %Y"))
    return str(value)


def _print_member(value: Any, ref: Ref) -> str:
    return "***" if value is not None and is_sensitive(ref) else print_value(value, ref)
