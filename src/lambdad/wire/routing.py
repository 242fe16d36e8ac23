"""Finds the REST operation that a request means, by method, path, and what the model wants in query and headers.

A tree of path segments; literals before labels before a greedy label, with backtracking. Operations that share a path are
told apart by the literal parts of their query (``?delete``), then by their required query and header members: so
``UploadPart`` wins over ``PutObject`` when ``uploadId`` is there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import unquote, unquote_plus

from lambdad.wire.http import Request
from lambdad.wire.service_model import Operation

Query: TypeAlias = Mapping[str, list[str]]
"""Decoded names to decoded values, in the order of the query."""

NO_QUERY: Query = {}

_MOST_KNOWN = 4096  # paths whose meaning is remembered; beyond, all are forgotten
_KNOWN_LENGTH = 256  # of such a path, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """An operation at a path, and what the rest of the request must have for it."""

    operation: str
    labels: tuple[str, ...]
    literal_query: tuple[tuple[str, str], ...]
    required_query: tuple[str, ...]
    required_headers: tuple[str, ...]
    deprecated: bool

    def rank(self) -> tuple[int, int, bool]:
        """Sort key: the route that asks for more is tried first."""
        return (-len(self.literal_query), -len(self.required_query) - len(self.required_headers), self.deprecated)

    def literals_hold(self, query: Query) -> bool:
        return all(name in query and (not value or value in query[name]) for name, value in self.literal_query)

    def requirements_hold(self, query: Query, headers: Mapping[str, str]) -> bool:
        return all(name in query for name in self.required_query) and all(name in headers for name in self.required_headers)


@dataclass(frozen=True, slots=True)
class Match:
    """The operation that a request means."""

    operation: str
    labels: Mapping[str, str]
    query: Query


@dataclass(slots=True)
class _Node:
    literals: dict[str, "_Node"] = field(default_factory=dict)
    label: "_Node | None" = None
    greedy: "_Node | None" = None
    routes: dict[str, list[Route]] = field(default_factory=dict)  # by method, best first


_Found: TypeAlias = tuple[_Node, tuple[str, ...]]


class Router:
    """The REST operations of one service.

    Example: ``GET /2015-03-31/functions/{FunctionName}/configuration`` and ``DELETE /{Bucket}/{Key+}?tagging``.
    """

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._root = _Node()
        self._known: dict[tuple[str, str], Match] = {}  # of paths that need no look at query and headers
        for operation in operations:
            self._add(operation)

    def _add(self, operation: Operation) -> None:
        path, _, literal_query = operation.request_uri.partition("?")
        node = self._root
        labels: list[str] = []
        for segment in path.strip("/").split("/"):
            if not segment:  # the path "/"
                continue
            if not segment.startswith("{"):
                node = node.literals.setdefault(segment, _Node())
                continue
            labels.append(segment.strip("{}+"))
            if segment.endswith("+}"):
                node.greedy = node = node.greedy or _Node()
            else:
                node.label = node = node.label or _Node()
        required_query, required_headers = _required_outside_path(operation)
        route = Route(
            operation=operation.name,
            labels=tuple(labels),
            literal_query=tuple((name, values[0]) for name, values in parse_query(literal_query).items()),
            required_query=required_query,
            required_headers=required_headers,
            deprecated=operation.deprecated,
        )
        routes = node.routes.setdefault(operation.method, [])
        routes.append(route)
        routes.sort(key=Route.rank)

    def match(self, request: Request) -> Match | None:
        """Return what the request means; None if no operation has this method and path."""
        query = parse_query(request.query) if request.query else NO_QUERY
        if not request.query:
            known = self._known.get((request.method, request.path))
            if known is not None:
                return known
        segments = request.path.split("/")[1:]
        for node, values in self._walk(self._root, segments, 0, (), arns_span=False):
            match = _choose(node, values, request, query)
            if match is not None:
                if query is NO_QUERY and len(node.routes[request.method]) == 1:
                    self._remember(request, match)
                return match
        if "arn:" in request.path or "arn%3" in request.path:
            for node, values in self._walk(self._root, segments, 0, (), arns_span=True):
                match = _choose(node, values, request, query)
                if match is not None:
                    return match
        return None

    def _remember(self, request: Request, match: Match) -> None:
        if len(request.path) <= _KNOWN_LENGTH:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[request.method, request.path] = match

    def _walk(self, node: _Node, segments: list[str], at: int, values: tuple[str, ...], *, arns_span: bool) -> Iterator[_Found]:
        """Yield the ends that the path leads to, most specific first. With ``arns_span`` a label takes an ARN's raw slashes."""
        if at == len(segments) or (at == len(segments) - 1 and not segments[at]):  # a slash at the end is nothing
            if node.routes:
                yield node, values
            return
        segment = segments[at]
        literal = node.literals.get(segment)
        if literal is not None:
            yield from self._walk(literal, segments, at + 1, values, arns_span=arns_span)
        if node.label is not None and segment:
            yield from self._walk(node.label, segments, at + 1, (*values, segment), arns_span=arns_span)
            if arns_span and segment.startswith(("arn:", "arn%3")):
                for end in range(at + 2, len(segments) + 1):
                    spanned = "/".join(segments[at:end])
                    yield from self._walk(node.label, segments, end, (*values, spanned), arns_span=arns_span)
        if node.greedy is not None and node.greedy.routes:
            rest = "/".join(segments[at:])
            if rest:
                yield node.greedy, (*values, rest)


def _choose(node: _Node, values: tuple[str, ...], request: Request, query: Query) -> Match | None:
    routes = node.routes.get(request.method)
    if routes is None:
        return None
    chosen = routes[0]
    if len(routes) > 1 or chosen.literal_query:
        candidates = [route for route in routes if route.literals_hold(query)]
        if not candidates:
            return None
        chosen = _best(candidates, request, query)
    if not values:
        return Match(chosen.operation, {}, query)
    return Match(chosen.operation, dict(zip(chosen.labels, map(unquote, values), strict=True)), query)


def _best(candidates: list[Route], request: Request, query: Query) -> Route:
    """Prefer what the caller names by ``x-id``, then the most literal routes: of these the first that has all it wants.

    If none has, the one that wants least is meant, and validation will say what is missing.
    """
    if "x-id" in query:
        named = [route for route in candidates if route.operation == query["x-id"][0]]
        if named:
            return named[0]
    most_literal = [route for route in candidates if len(route.literal_query) == len(candidates[0].literal_query)]
    for route in most_literal:
        if route.requirements_hold(query, request.headers):
            return route
    return ([route for route in most_literal if not route.deprecated] or most_literal)[-1]


def _required_outside_path(operation: Operation) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if operation.input is None:
        return (), ()
    shape = operation.input.shape
    required = [shape.members[name] for name in shape.required]
    return (
        tuple(ref.wire_name for ref in required if ref.location == "querystring"),
        tuple(ref.wire_name.lower() for ref in required if ref.location == "header"),
    )


def parse_query(query: str) -> Query:
    """Decode a raw query: ``a=1&b&a=2`` is ``{"a": ["1", "2"], "b": [""]}``; a plus is a blank."""
    found: dict[str, list[str]] = {}
    for part in query.split("&"):
        if not part:
            continue
        name, _, value = part.partition("=")
        if "%" in part or "+" in part:
            name, value = unquote_plus(name), unquote_plus(value)
        found.setdefault(name, []).append(value)
    return found
