"""How a long-running process of ours sits in memory once it has started."""

import gc


def settle() -> None:
    """Collect what starting up left behind, and spare what stays from further collections."""
    gc.collect()
    gc.freeze()
