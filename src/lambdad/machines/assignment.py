"""Assignment: which environment serves which invocation of one function version.

Knows environments by id and invocations by token; does not know what they do. One environment runs one invocation at a time; the
one used last is used first, so that the others grow old and are reaped; an invocation that finds none idle causes one to be started,
and is served by whichever is free first.
"""

import collections
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Token = TypeVar("Token")


@dataclass(slots=True)
class Pool(Generic[Token]):
    """The environments of one function version.

    Invariants: no environment is in two of `idle`, `busy`, `starting`; `waiting` is empty while `idle` is not.
    """

    idle: dict[str, float] = field(default_factory=dict)  # id to the time it became idle, oldest first
    busy: dict[str, Token] = field(default_factory=dict)
    starting: set[str] = field(default_factory=set)
    waiting: collections.deque[Token] = field(default_factory=collections.deque)

    def size(self) -> int:
        return len(self.idle) + len(self.busy) + len(self.starting)


def request(pool: Pool[Token], token: Token) -> str | None:
    """Take the environment used last for an invocation; None: it waits, and one more environment is to be started."""
    if pool.idle:
        environment_id, _ = pool.idle.popitem()
        pool.busy[environment_id] = token
        return environment_id
    pool.waiting.append(token)
    return None


def needs_start(pool: Pool[Token]) -> bool:
    """Say whether more invocations wait than environments are on their way."""
    return len(pool.waiting) > len(pool.starting)


def started(pool: Pool[Token], environment_id: str) -> None:
    """Note an environment that is being made."""
    pool.starting.add(environment_id)


def free(pool: Pool[Token], environment_id: str, now_s: float) -> Token | None:
    """Note that an environment is ready, or has ended its invocation; return the invocation that it serves next, if one waits."""
    pool.starting.discard(environment_id)
    pool.busy.pop(environment_id, None)
    if pool.waiting:
        token = pool.waiting.popleft()
        pool.busy[environment_id] = token
        return token
    pool.idle[environment_id] = now_s
    return None


def lost(pool: Pool[Token], environment_id: str) -> Token | None:
    """Note that an environment is gone; return the invocation that went with it, if any."""
    pool.starting.discard(environment_id)
    pool.idle.pop(environment_id, None)
    return pool.busy.pop(environment_id, None)


def expired(pool: Pool[Token], idle_before_s: float) -> list[str]:
    """Return the environments that have been idle since before a time, longest first."""
    ids = []
    for environment_id, since_s in pool.idle.items():
        if since_s >= idle_before_s:
            break
        ids.append(environment_id)
    return ids
