"""Decides how much memory beyond its own a function's files in /tmp may take, and how soon to look again. Pure."""

from __future__ import annotations

from lambdad.sandbox import spec

# Room ahead of what the files have: as much as a fast writer fills before anybody looks again.
STEP_BYTES = 64 << 20
# /dev/shm is a tmpfs as well; its size is fixed.
SHARED_MEMORY_BYTES = 64 << 20
# Files smaller than this, and memory this close to its limit, are not told from the rest.
MARGIN_BYTES = 2 << 20

_FASTEST_BYTES_PER_S = 2 << 30
_SOONEST_S, _LATEST_S = 0.005, 0.25


def most_bytes(limits: spec.Limits) -> int:
    """Return what a function may use at most, its memory and its files together."""
    return limits.memory_bytes + limits.tmp_bytes + SHARED_MEMORY_BYTES


def room_bytes(limits: spec.Limits | None, used_bytes: int, files_bytes: int) -> int:
    """
    Return how far above ``limits.memory_bytes`` the limit is to be.

    Args:
        used_bytes: all memory in use, files included.
        files_bytes: what files in memory (tmpfs) use of it.

    Returns:
        0 if there are no files worth the name, or if it is not files that use the memory up; else the files' size and one
        step, at most what /tmp and /dev/shm may hold together.
    """
    if limits is None or files_bytes < MARGIN_BYTES or used_bytes - files_bytes >= limits.memory_bytes - MARGIN_BYTES:
        return 0
    return min(files_bytes + STEP_BYTES, limits.tmp_bytes + SHARED_MEMORY_BYTES)


def look_again_s(limit_bytes: int, used_bytes: int) -> float:
    """Return after how many seconds a fast writer could come near the limit; 0.005..0.25."""
    return min(_LATEST_S, max(_SOONEST_S, (limit_bytes - used_bytes) / 2 / _FASTEST_BYTES_PER_S))
