"""botocore's service models, as the codecs' compilers read them: operations, shapes and their traits.

The packaged JSON is read without importing botocore (80 ms and 15 MB); its prose is dropped.
"""

import functools
import gzip
import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

Traits = Mapping[str, Any]


class Shape:
    """A named type of a service model. Only compilers touch it; nothing on a hot path does."""

    __slots__ = ("key", "member", "members", "name", "payload", "required", "traits", "type", "value")

    def __init__(self, model: "ServiceModel", name: str, traits: Traits) -> None:
        self.name = name
        self.type: str = traits["type"]
        self.traits = traits
        self.members = {member: Ref(model, member, raw) for member, raw in traits.get("members", {}).items()}
        self.required: tuple[str, ...] = tuple(traits.get("required", ()))
        self.payload: str | None = traits.get("payload")
        self.member = Ref(model, "member", traits["member"]) if "member" in traits else None
        self.key = Ref(model, "key", traits["key"]) if "key" in traits else None
        self.value = Ref(model, "value", traits["value"]) if "value" in traits else None

    @property
    def element(self) -> "Ref":
        """The reference to the members of a list."""
        assert self.member is not None, self.name
        return self.member

    @property
    def entry(self) -> tuple["Ref", "Ref"]:
        """The references to the keys and the values of a map."""
        assert self.key is not None and self.value is not None, self.name
        return self.key, self.value

    @property
    def event_stream(self) -> "Ref | None":
        """The member that is an event stream, if there is one."""
        return next((ref for ref in self.members.values() if ref.shape.traits.get("eventstream")), None)


class Ref:
    """A use of a shape: by a member of a structure, list or map, or as an operation's input or output."""

    __slots__ = ("_model", "name", "raw", "shape_name")

    def __init__(self, model: "ServiceModel", name: str, raw: Traits) -> None:
        self._model = model
        self.name = name
        self.raw = raw
        self.shape_name: str = raw["shape"]

    @property
    def shape(self) -> Shape:
        return self._model.shape(self.shape_name)

    def trait(self, name: str) -> Any:
        """Return the trait given here, else the shape's, else None."""
        return self.raw[name] if name in self.raw else self.shape.traits.get(name)

    @property
    def wire_name(self) -> str:
        """The member's name in bodies, headers, paths and queries."""
        name: str = self.trait("locationName") or self.name
        return name

    @property
    def location(self) -> str | None:
        """``uri``, ``querystring``, ``header``, ``headers``, ``statusCode``; None in the body."""
        location: str | None = self.raw.get("location")
        return location

    @property
    def flattened(self) -> bool:
        return bool(self.trait("flattened"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation of a service model, keyed by the name that clients use for it."""

    name: str
    method: str
    request_uri: str
    status: int
    input: Ref | None
    output: Ref | None
    errors: tuple[str, ...]
    deprecated: bool


class ServiceModel:
    """One service's model: metadata, operations, shapes built at first use."""

    def __init__(self, service: str, document: Mapping[str, Any]) -> None:
        self.service = service
        self._document = document
        self.metadata: Mapping[str, Any] = document["metadata"]
        self._shapes: dict[str, Shape] = {}
        self._raw_shapes: Mapping[str, Traits] = document["shapes"]
        self.operations = {name: self._operation(name, raw) for name, raw in document["operations"].items()}

    def _operation(self, name: str, raw: Mapping[str, Any]) -> Operation:
        http = raw["http"]
        return Operation(
            name=name,
            method=http["method"],
            request_uri=http["requestUri"],
            status=http.get("responseCode", 200),
            input=Ref(self, name, raw["input"]) if "input" in raw else None,
            output=Ref(self, name, raw["output"]) if "output" in raw else None,
            errors=tuple(error["shape"] for error in raw.get("errors", ())),
            deprecated=bool(raw.get("deprecated")),
        )

    def with_traits(self, traits: Mapping[str, Traits]) -> "ServiceModel":
        """
        Return a model in which some shapes have further traits.

        Args:
            traits: by shape name; those of a member, key or value under ``member``, ``key``, ``value``.
        """
        shapes = dict(self._raw_shapes)
        for name, more in traits.items():
            shape = dict(shapes[name])
            for trait, value in more.items():
                shape[trait] = {**shape[trait], **value} if trait in ("member", "key", "value") else value
            shapes[name] = shape
        return ServiceModel(self.service, {**self._document, "shapes": shapes})

    @property
    def shape_names(self) -> Iterable[str]:
        return self._raw_shapes.keys()

    def shape(self, name: str) -> Shape:
        shape = self._shapes.get(name)
        if shape is None:
            shape = self._shapes[name] = Shape(self, name, self._raw_shapes[name])
        return shape

    @functools.cached_property
    def exceptions(self) -> Mapping[str, str]:
        """Every modelled exception's shape name, by that name and by its code on the wire (``error.code``)."""
        found: dict[str, str] = {}
        for name, raw in self._raw_shapes.items():
            if raw.get("exception") or "error" in raw:
                found.setdefault(raw.get("error", {}).get("code", name), name)
        for name, raw in self._raw_shapes.items():
            if raw.get("exception") or "error" in raw:
                found[name] = name
        return found

    @functools.cached_property
    def xml_namespace(self) -> str | None:
        """The namespace of XML answers: the service's, else the one that its inputs carry."""
        if "xmlNamespace" in self.metadata:
            return str(self.metadata["xmlNamespace"])
        for operation in self.operations.values():
            if operation.input is None:
                continue
            payload = operation.input.shape.members.get(operation.input.shape.payload or "")
            for ref in (operation.input, payload):
                namespace = ref.raw.get("xmlNamespace") if ref is not None else None
                if namespace is not None:
                    return str(namespace["uri"] if isinstance(namespace, dict) else namespace)
        return None


def read(service: str) -> ServiceModel:
    """
    Read the newest packaged model of a service.

    Args:
        service: botocore's name of it, e.g. ``lambda``, ``dynamodbstreams``.

    Raises:
        LookupError: botocore has no such service.
    """
    spec = importlib.util.find_spec("botocore")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "data" / service
    if "/" in service or not folder.is_dir():
        raise LookupError(f"botocore has no service model named {service!r}")
    newest = max(path for path in folder.iterdir() if any(path.glob("service-2.json*")))
    packed = newest / "service-2.json.gz"
    raw = gzip.decompress(packed.read_bytes()) if packed.exists() else (newest / "service-2.json").read_bytes()
    return ServiceModel(service, _without_prose(orjson.loads(raw)))


def _without_prose(document: dict[str, Any]) -> dict[str, Any]:
    for part in ("operations", "shapes"):
        for item in document[part].values():
            _drop(item)
    for shape in document["shapes"].values():
        for ref in (*shape.get("members", {}).values(), shape.get("member"), shape.get("key"), shape.get("value")):
            if ref:
                _drop(ref)
    return document


def _drop(item: dict[str, Any]) -> None:
    for name in ("documentation", "deprecatedMessage", "deprecatedSince", "documentationUrl"):
        item.pop(name, None)
