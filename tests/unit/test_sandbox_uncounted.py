"""What waits in netlink sockets, from the kernel's table of them."""

from hypothesis import given
from hypothesis import strategies as st

from lambdad.sandbox import uncounted

HEAD = b"sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"


def line(waiting_bytes: int) -> bytes:
    return b"0000000000000000 0   4195226    00000000 %-8d 0        0     2        0        12711\n" % waiting_bytes


@given(st.lists(st.integers(0, 10**9)))
def test_the_column_is_added_up(sizes: list[int]):
    """Whatever is in the sockets, its sum comes out."""
    assert uncounted.waiting_bytes(HEAD + b"".join(map(line, sizes))) == sum(sizes)


@given(st.binary(max_size=300))
def test_a_table_of_another_form(text: bytes):
    """It counts something or nothing, and never fails."""
    assert uncounted.waiting_bytes(text) >= 0
