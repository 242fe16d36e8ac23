"""All functions in memory, and the one way to change them.

Reading is synchronous and runs no SQL; that is what a warm invoke does. Every change goes through `Registry.change`: it takes
the function's lock, lets a synchronous `decide` turn the old `Function` into the new one, writes the difference (and whatever
the caller adds with ``also``, in the same transaction), and only after the commit is durable installs the new value and
tells the subscribers.

    def decide(function: Function | None) -> Change[str]:
        if function is None:
            raise errors.function_not_found(...)                 # nothing is written
        policies = {**function.policies, "": document}
        latest = replace(function.latest, revision_id=new_uuid())
        return Change(replace(function, latest=latest, policies=policies), "the answer")

    answer = await registry.change(key, decide)

Invariants: memory never shows what is not durable; changes of one function never overlap; a `Function` that was read is
a snapshot and stays true to itself.
"""

import asyncio
import logging
import weakref
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from lambdad.model import arn
from lambdad.model.function import LATEST, Alias, Function, FunctionKey, FunctionVersion
from lambdad.services.lambda_ import errors
from lambdad.services.lambda_.rows import FunctionRows
from lambdad.services.lambda_.rules import lifecycle, routing
from lambdad.store.database import Connection, Database

log = logging.getLogger("lambdad.lambda.registry")

T = TypeVar("T")
Spawn: TypeAlias = Callable[[Coroutine[Any, Any, None]], object]
"""Start a task that its owner (a TaskGroup) waits for."""
Subscriber: TypeAlias = Callable[[FunctionKey, Function | None, Function | None], None]
"""Hears (key, old, new) after each change; None stands for "does not exist". Must not wait and must not raise."""


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """What a decision about one function came to.

    Args:
        function: the function from now on; None deletes it with all that belongs to it. The old object itself: no change.
        answer: handed to the caller of `Registry.change` once the change is durable.
        also: further writes of the same transaction; raising there undoes all of it.
    """

    function: Function | None
    answer: T
    also: Callable[[Connection], object] | None = None


class Target(msgspec.Struct, frozen=True):
    """What an invocation runs.

    ``invoked_arn`` is qualified as the caller qualified it. ``reserved_concurrency`` is the function's, None if it has none;
    ``on_demand_concurrency`` is what provisioned concurrency leaves of it.
    """

    version: FunctionVersion
    invoked_arn: str
    alias: str | None
    reserved_concurrency: int | None
    on_demand_concurrency: int | None = None

    @property
    def key(self) -> FunctionKey:
        """The function whose concurrency this invocation counts against."""
        return self.version.key


class Registry:
    """The functions of all accounts and regions.

    Call `load` once before anything else. All methods belong to the event loop's thread.
    """

    def __init__(self, database: Database, spawn: Spawn) -> None:
        self._database = database
        self._spawn = spawn
        self._rows = FunctionRows()
        self._functions: dict[tuple[str, str], dict[str, Function]] = defaultdict(dict)
        self._claimed: dict[tuple[str, str], int] = defaultdict(int)
        self._numbering: dict[FunctionKey, int] = {}
        self.alias_in_effect: Callable[[Function, Alias], Alias] = lambda function, alias: alias
        """Says what routes the invocations of a provisioned alias: itself, or what it was until its new versions are warm."""
        self._subscribers: list[Subscriber] = []
        self._locks: weakref.WeakValueDictionary[FunctionKey, asyncio.Lock] = weakref.WeakValueDictionary()

    async def load(self) -> None:
        """Read every function from the store."""
        functions, self._numbering = await self._database.read(
            lambda connection: (self._rows.load(connection), self._rows.numbering(connection))
        )
        for function in functions:
            self._functions[function.account, function.region][function.name] = function
            self._claimed[function.account, function.region] += function.claimed_concurrency

    def on_change(self, subscriber: Subscriber) -> None:
        """Have `subscriber` called after each durable change, in the order of the changes of one function."""
        self._subscribers.append(subscriber)

    # --- reading

    def get(self, account: str, region: str, name: str) -> Function | None:
        """Give a function; None where there is none of that name."""
        functions = self._functions.get((account, region))
        return functions.get(name) if functions is not None else None

    def find(self, key: FunctionKey) -> Function | None:
        """Give a function by its key."""
        return self.get(key.account, key.region, key.name)

    def in_region(self, account: str, region: str) -> list[Function]:
        """Give an account's functions in a region, by name."""
        functions = self._functions.get((account, region), {})
        return [functions[name] for name in sorted(functions)]

    def everything(self) -> Iterator[Function]:
        """Go through the functions of all accounts and regions."""
        for functions in self._functions.values():
            yield from functions.values()

    def next_version(self, key: FunctionKey) -> int:
        """Give the number that a function's next version gets; numbers are not used again after deletion."""
        return self._numbering.get(key, 1)

    def claimed(self, account: str, region: str) -> int:
        """Give all concurrency of an account in a region that is reserved, or provisioned for functions without a reservation."""
        return self._claimed.get((account, region), 0)

    def resolve(self, account: str, region: str, name: str, qualifier: str | None, pick: float) -> Target:
        """
        Find what an invocation runs. In memory, without waiting.

        Args:
            qualifier: None, ``$LATEST``, a version's number or an alias's name.
            pick: uniformly random in [0, 1), for weighted aliases.

        Raises:
            ResourceNotFound: no such function, version or alias.
            ResourceConflict: it is not ready to be invoked (Pending, Failed).
        """
        function = self.get(account, region, name)
        if function is None:
            raise errors.function_not_found(arn.function(account, region, name, qualifier or LATEST))
        alias = None
        number = qualifier or LATEST
        if number in function.aliases:
            alias, in_effect = number, function.aliases[number]
            if alias in function.provisioned:
                in_effect = self.alias_in_effect(function, in_effect)
            number = routing.choose(in_effect, pick)
        version = (function.serving or function.latest) if number == LATEST else function.versions.get(number)
        if version is None:
            raise errors.function_not_found(arn.function(account, region, name, qualifier))
        lifecycle.require_invocable(version)
        invoked_arn = arn.function(account, region, name, qualifier)
        reserved = function.reserved_concurrency
        on_demand = None if reserved is None else max(reserved - function.provisioned_concurrency, 0)
        return Target(version, invoked_arn, alias, reserved, on_demand)

    # --- changing

    async def change(self, key: FunctionKey, decide: Callable[[Function | None], Change[T]], *, account_wide: bool = False) -> T:
        """
        Change one function: lock, decide, write durably, install, tell.

        Args:
            decide: gets the function as it is (None: there is none), gives the `Change`. Synchronous, and the only place
                where the state it sees is sure to be current. What it raises reaches the caller; nothing is then changed.
            account_wide: also keep out other account-wide changes of this account and region, for decisions that
                depend on other functions (sums of reservations).

        Cancellation: a change that has begun is finished whether its caller still waits or not.

        Raises:
            What `decide`, `Change.also` or the store raise.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._spawn(self._carry_out(key, decide, account_wide, done))
        return await done

    async def _carry_out(
        self,
        key: FunctionKey,
        decide: Callable[[Function | None], Change[T]],
        account_wide: bool,
        done: "asyncio.Future[T]",
    ) -> None:
        try:
            if account_wide:
                async with self._lock(key._replace(name="")):
                    answer = await self._change_locked(key, decide)
            else:
                answer = await self._change_locked(key, decide)
        except asyncio.CancelledError:
            done.cancel()
            raise
        except Exception as error:  # handed to the caller, who raises it; logged only where nobody is left to
            if done.done():
                log.warning("function.change.failed function=%s error=%r", key.name, error)
            else:
                done.set_exception(error)
        else:
            if not done.done():
                done.set_result(answer)

    async def _change_locked(self, key: FunctionKey, decide: Callable[[Function | None], Change[T]]) -> T:
        async with self._lock(key):
            old = self.find(key)
            change = decide(old)
            if change.function is not old or change.also is not None:
                await self._database.write(lambda connection: self._write(connection, key, old, change))
                self._install(key, old, change.function)
            return change.answer

    def _write(self, connection: Connection, key: FunctionKey, old: Function | None, change: Change[T]) -> None:
        self._rows.save(connection, key, old, change.function)
        if change.also is not None:
            change.also(connection)

    def _install(self, key: FunctionKey, old: Function | None, new: Function | None) -> None:
        place = (key.account, key.region)
        if new is None:
            self._functions[place].pop(key.name, None)
        else:
            self._functions[place][key.name] = new
            if new.next_version > 1:
                self._numbering[key] = new.next_version
        before = old.claimed_concurrency if old is not None else 0
        after = new.claimed_concurrency if new is not None else 0
        self._claimed[place] += after - before
        for subscriber in self._subscribers:
            subscriber(key, old, new)

    def _lock(self, key: FunctionKey) -> asyncio.Lock:
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        return lock
