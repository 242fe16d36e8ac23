"""AWS Lambda as one service: the chapters of its API joined."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from lambdad.model import limits
from lambdad.services.lambda_.account_settings import AccountSettings
from lambdad.services.lambda_.aliases import Aliases
from lambdad.services.lambda_.code_links import CodeLinks
from lambdad.services.lambda_.concurrency import Concurrency
from lambdad.services.lambda_.function_defaults import FunctionDefaults
from lambdad.services.lambda_.functions import Functions, World
from lambdad.services.lambda_.ports import Code, LayerResolver, Objects
from lambdad.services.lambda_.registry import Registry
from lambdad.services.lambda_.tags import Tagged, Tags
from lambdad.services.lambda_.versions import Versions
from lambdad.services.ports import Handler, Service


class Chapter(Protocol):
    """The operations on one kind of resource."""

    def handlers(self) -> Mapping[str, Handler]:
        """Give the operations by their AWS names."""
        ...


class LambdaService:
    """Lambda's operations on functions, and whatever further chapters are given.

    Args:
        registry: loaded.
        objects: where code in S3 comes from.
        architectures: what this machine can run, ``{"x86_64"}``.
        chapters: operations on layers, permissions, invocations and so on.
        mappings: the event source mappings, for their tags.
        concurrency_limit: concurrent executions of an account in a region.
        unreserved_min: how many of them must stay unreserved.
        code_storage_bytes: of an account in a region.
    """

    def __init__(
        self,
        registry: Registry,
        code: Code,
        layers: LayerResolver,
        links: CodeLinks,
        world: World,
        *,
        objects: Objects,
        architectures: Collection[str],
        chapters: Sequence[Chapter] = (),
        mappings: Tagged | None = None,
        concurrency_limit: int = limits.CONCURRENT_EXECUTIONS,
        unreserved_min: int = limits.UNRESERVED_CONCURRENT_EXECUTIONS_MIN,
        code_storage_bytes: int = limits.CODE_STORAGE_BYTES,
    ) -> None:
        self._chapters: tuple[Chapter, ...] = (
            Functions(
                registry,
                code,
                objects,
                layers,
                links,
                world,
                architectures=architectures,
                code_storage_bytes=code_storage_bytes,
            ),
            Versions(registry, world),
            Aliases(registry, world),
            Concurrency(registry, account_limit=concurrency_limit, unreserved_min=unreserved_min),
            Tags(registry, world, mappings),
            AccountSettings(registry, layers, account_limit=concurrency_limit, code_storage_bytes=code_storage_bytes),
            FunctionDefaults(registry),
            *chapters,
        )

    def service(self) -> Service:
        """Join the chapters; an operation belongs to one of them."""
        handlers: dict[str, Handler] = {}
        for chapter in self._chapters:
            offered = chapter.handlers()
            assert handlers.keys().isdisjoint(offered), f"offered twice: {sorted(handlers.keys() & offered.keys())}"
            handlers.update(offered)
        return Service(name="lambda", handlers=handlers)
