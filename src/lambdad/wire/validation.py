"""Checks typed input against the constraints of a service model, and words what is wrong as AWS's front end does.

A validator is compiled per shape; None stands for "there is nothing to check below here", so that it costs nothing.
Regular expressions are compiled when they are first needed.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from lambdad.model.errors import ValidationError
from lambdad.wire import java_patterns, printing
from lambdad.wire.printing import lower_camel, print_number
from lambdad.wire.service_model import Operation, Ref, ServiceModel, Shape

Failures: TypeAlias = list[str]
Check: TypeAlias = Callable[[Any], bool]
Validator: TypeAlias = Callable[[Any, str, Failures], None]
"""Given a value and its path, append what is wrong."""

NOT_NULL = "Member must not be null"

_NUMBERS = ("integer", "long", "float", "double", "short", "byte")

# What a service answers to a request that breaks its model, where that is not ValidationException.
_CODES = {
    "apigateway": "BadRequestException",
    "apigatewayv2": "BadRequestException",
    "cloudfront": "InvalidArgument",
    "logs": "InvalidParameterException",
    "s3": "InvalidRequest",
    "sns": "InvalidParameter",
    "sqs": "InvalidParameterValue",
}

# Members whose enum the service itself checks, with a message of its own (lambda: "... or be a valid ARN").
_LEFT_TO_SERVICE = {
    ("lambda", "CreateFunctionRequest", "Runtime"),
    ("lambda", "UpdateFunctionConfigurationRequest", "Runtime"),
    ("s3", "CreateBucketConfiguration", "LocationConstraint"),
    ("s3", "LambdaFunctionConfiguration", "Events"),
    ("s3", "QueueConfiguration", "Events"),
    ("s3", "TopicConfiguration", "Events"),
    ("s3", "FilterRule", "Name"),
}
_OUTSIDE_BODY = ("header", "querystring")  # S3 itself checks enums there, with errors of their own

# Services that check their input themselves, each failure with a code and a text of its own. Of the model's constraints only this one
# is checked for them: that lists and maps hold no nulls.
_LEFT_TO_THEMSELVES = frozenset({"sqs"})


class Validators:
    """The validators of one service, compiled at first use."""

    def __init__(self, model: ServiceModel) -> None:
        self._service = model.service
        self._code = _CODES.get(model.service) or (
            "ValidationError" if model.metadata.get("protocol") == "query" else "ValidationException"
        )
        self._is_lenient = model.service in _LEFT_TO_THEMSELVES
        self._structures: dict[str, Validator | None] = {}
        self._in_progress: set[str] = set()

    def operation(self, operation: Operation) -> Callable[[Mapping[str, Any]], None]:
        """Return a function that raises `ValidationError` for an input that breaks the model."""
        validator = self._of(operation.input) if operation.input is not None else None
        if validator is None:
            return lambda params: None
        check, code = validator, self._code

        def validate(params: Mapping[str, Any]) -> None:
            failures: Failures = []
            check(params, "", failures)
            if failures:
                raise ValidationError(failures, code=code)

        return validate

    def _of(self, ref: Ref, *, owner: Shape | None = None) -> Validator | None:
        shape = ref.shape
        if shape.traits.get("eventstream") or shape.traits.get("document"):
            return None
        if shape.type == "structure":
            return self._structure(shape)
        is_left = owner is not None and (
            (self._service, owner.name, ref.name) in _LEFT_TO_SERVICE or (self._service == "s3" and ref.location in _OUTSIDE_BODY)
        )
        own = [(check, text) for check, text in self._constraints(ref) if not (is_left and _ENUM_TEXT in text)]
        below = self._elements(ref)
        if not own and below is None:
            return None

        def validate(value: Any, path: str, failures: Failures) -> None:
            for holds, text in own:
                if not holds(value):
                    failures.append(_failure(value, path, text, ref))
            if below is not None:
                below(value, path, failures)

        return validate

    def _structure(self, shape: Shape) -> Validator | None:
        if shape.name in self._structures:
            return self._structures[shape.name]
        if shape.name in self._in_progress:  # contains itself: resolved when it is used
            return lambda value, path, failures: self._recurse(shape.name, value, path, failures)
        self._in_progress.add(shape.name)
        required = frozenset(() if self._is_lenient else shape.required)
        checks: list[tuple[str, str, Validator | None, bool]] = []
        for ref in shape.members.values():
            validator = self._of(ref, owner=shape)
            if validator is not None or ref.name in required:
                checks.append((ref.name, lower_camel(ref.name), validator, ref.name in required))
        self._in_progress.discard(shape.name)
        compiled = _structure_validator(checks) if checks else None
        self._structures[shape.name] = compiled
        return compiled

    def _recurse(self, name: str, value: Any, path: str, failures: Failures) -> None:
        validator = self._structures[name]
        if validator is not None:
            validator(value, path, failures)

    def _elements(self, ref: Ref) -> Validator | None:
        shape = ref.shape
        if shape.type == "list":
            if _is_nested(shape.element):
                return _nested(self._of(shape.element), _numbered)
            return self._scalar_elements("Member must satisfy constraint", shape.element, list, ref)
        if shape.type == "map":
            key, value = shape.entry
            keys = self._scalar_elements("Map keys must satisfy constraint", key, list, ref)
            if value.shape.type in ("structure", "map"):
                return _both(keys, _nested(self._of(value), _keyed))
            values = self._scalar_elements("Map value must satisfy constraint", value, _values, ref)
            if _is_nested(value):
                values = _both(values, _nested(self._elements(value), _keyed))
            return _both(keys, values)
        return None

    def _scalar_elements(self, wording: str, element: Ref, elements_of: Callable[[Any], list[Any]], container: Ref) -> Validator | None:
        """Check the members of a list, or the keys or values of a map: one failure for all, which names every constraint."""
        constraints = self._constraints(element)
        if element.shape.type == "list":
            inner = self._constraints(element.shape.element)
            if inner:
                texts = ", ".join(text for _, text in inner)
                checks = [check for check, _ in inner]
                constraints.append(
                    (
                        lambda items: all(item is not None and all(holds(item) for holds in checks) for item in items),
                        f"Member must satisfy constraint: [{texts}]",
                    )
                )
        texts_of = [text for _, text in constraints]
        if element.shape.type in _NUMBERS:
            texts_of.append(NOT_NULL)

        def validate(value: Any, path: str, failures: Failures) -> None:
            has_null = False
            for item in elements_of(value):
                if item is None:
                    has_null = True
                elif all(holds(item) for holds, _ in constraints):
                    continue
                texts = texts_of if not has_null or NOT_NULL in texts_of else [*texts_of, NOT_NULL]
                text = f"{wording}: [{', '.join(texts)}]"
                failures.append(_failure(value, path, text, container))
                return

        return validate

    def _constraints(self, ref: Ref) -> list[tuple[Check, str]]:
        return [] if self._is_lenient else list(_constraints(ref))


def _nested(validator: Validator | None, steps: Callable[[Any], Iterator[tuple[str, Any]]]) -> Validator:
    """Check every element with a path of its own: ``tags.1.member.key``, ``items.name.member``."""

    def validate(elements: Any, path: str, failures: Failures) -> None:
        for step, element in steps(elements):
            if element is None:
                failures.append(_failure(None, f"{path}.{step}.member", NOT_NULL))
            elif validator is not None:
                validator(element, f"{path}.{step}.member", failures)

    return validate


def _numbered(items: list[Any]) -> Iterator[tuple[str, Any]]:
    return ((str(number), item) for number, item in enumerate(items, 1))


def _keyed(items: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return iter(items.items())


def _is_nested(ref: Ref) -> bool:
    """Whether elements have members with constraints of their own, too many to be said in one text."""
    if ref.shape.type == "list":
        return ref.shape.element.shape.type in ("structure", "list", "map")
    return ref.shape.type in ("structure", "map")


def _structure_validator(checks: list[tuple[str, str, Validator | None, bool]]) -> Validator:
    def validate(value: Any, path: str, failures: Failures) -> None:
        prefix = f"{path}." if path else ""
        get = value.get
        for name, step, check, is_required in checks:
            item = get(name)
            if item is None:
                if is_required:
                    failures.append(_failure(None, prefix + step, NOT_NULL))
            elif check is not None:
                check(item, prefix + step, failures)

    return validate


def _both(first: Validator | None, second: Validator | None) -> Validator | None:
    if first is None or second is None:
        return first or second
    one, other = first, second

    def validate(value: Any, path: str, failures: Failures) -> None:
        one(value, path, failures)
        other(value, path, failures)

    return validate


def _values(mapping: Mapping[str, Any]) -> list[Any]:
    return list(mapping.values())


_ENUM_TEXT = "Member must satisfy enum value set"


def _constraints(ref: Ref) -> Iterator[tuple[Check, str]]:
    """Yield the constraints of a value itself in AWS's order: most, least, pattern, enum."""
    most, least = ref.trait("max"), ref.trait("min")
    if ref.shape.type in _NUMBERS:
        if most is not None:
            yield _at_most(most), f"Member must have value less than or equal to {print_number(most, ref.shape.type)}"
        if least is not None:
            yield _at_least(least), f"Member must have value greater than or equal to {print_number(least, ref.shape.type)}"
    elif not ref.trait("streaming"):
        if most is not None:
            yield _no_longer(most), f"Member must have length less than or equal to {most}"
        if least is not None:
            yield _no_shorter(least), f"Member must have length greater than or equal to {least}"
    pattern = ref.trait("pattern")
    if pattern is not None and ref.shape.type == "string":
        yield _matches(pattern), f"Member must satisfy regular expression pattern: {pattern}"
    values = ref.trait("enum")
    if values:
        yield frozenset(values).__contains__, f"{_ENUM_TEXT}: [{', '.join(values)}]"


def _at_most(limit: float) -> Check:
    return lambda value: bool(value <= limit)


def _at_least(limit: float) -> Check:
    return lambda value: bool(value >= limit)


def _no_longer(limit: int) -> Check:
    return lambda value: len(value) <= limit


def _no_shorter(limit: int) -> Check:
    return lambda value: len(value) >= limit


def _matches(pattern: str) -> Check:
    def check(value: str) -> bool:
        compiled = java_patterns.compile_pattern(pattern)
        return compiled is None or compiled.fullmatch(value) is not None

    return check


def _failure(value: Any, path: str, text: str, ref: Ref | None = None) -> str:
    if value is None or ref is None:
        printed = "Value null"
    elif printing.is_sensitive(ref):
        printed = "Value"
    else:
        printed = f"Value '{printing.print_value(value, ref)}'"
    return f"{printed} at '{path}' failed to satisfy constraint: {text}"
