"""Hooks around a snapshot, for versions with SnapStart: what AWS's Python runtimes offer under this name.

    from snapshot_restore_py import register_before_snapshot, register_after_restore

    @register_before_snapshot
    def before(): ...

    register_after_restore(connect, "host", retries=3)

Before the snapshot, the last one registered runs first; after the restore, the first one. Standard library only, any CPython from 3.8 on.

Source: Lambda Developer Guide, "Lambda SnapStart runtime hooks for Python".
"""

__all__ = ["register_after_restore", "register_before_snapshot"]

_before_snapshot = []
_after_restore = []


def register_before_snapshot(func, *args, **kwargs):
    """Have ``func(*args, **kwargs)`` called before the snapshot is taken. Usable as a decorator; returns ``func``."""
    _before_snapshot.append((func, args, kwargs))
    return func


def register_after_restore(func, *args, **kwargs):
    """Have ``func(*args, **kwargs)`` called in each environment after it was restored. Usable as a decorator; returns ``func``."""
    _after_restore.append((func, args, kwargs))
    return func


def get_before_snapshot():
    """Return the hooks to run before the snapshot as (function, args, kwargs), in the order of registration."""
    return _before_snapshot


def get_after_restore():
    """Return the hooks to run after a restore as (function, args, kwargs), in the order of registration."""
    return _after_restore
