"""Provisioned concurrency: how many are started, kept, replaced and given up."""

from hypothesis import given
from hypothesis import strategies as st

from lambdad.machines import provisioned
from lambdad.machines.provisioned import Pool, Status


def warm(pool: Pool, count: int, first: str = "e") -> list[str]:
    ids = [f"{first}{number}" for number in range(count)]
    for environment_id in ids:
        provisioned.started(pool, environment_id)
        provisioned.freed(pool, environment_id)
    return ids


def test_warming_up():
    """As many as wanted, a bounded number at a time; READY once all are."""
    pool = Pool()
    provisioned.aim(pool, 20)
    assert provisioned.missing(pool, 0.0) == provisioned.AT_ONCE
    for number in range(16):
        provisioned.started(pool, f"e{number}")
    assert provisioned.missing(pool, 0.0) == 0
    for number in range(16):
        provisioned.freed(pool, f"e{number}")
    assert provisioned.missing(pool, 0.0) == 4 and provisioned.status([(pool, 20)]) == (Status.IN_PROGRESS, 16, "")
    warm(pool, 4, "f")
    assert provisioned.missing(pool, 0.0) == 0 and provisioned.status([(pool, 20)]) == (Status.READY, 20, "")


def test_init_that_keeps_failing():
    """It is tried again after half a second, 1, 2, 4 …, one at a time; after six it is FAILED, and READY as soon as it works."""
    pool, now_s, waits = Pool(), 0.0, []
    provisioned.aim(pool, 3)
    for attempt in range(6):
        assert provisioned.missing(pool, now_s) == (3 if attempt == 0 else 1)
        provisioned.started(pool, "x")
        assert attempt == 0 or provisioned.missing(pool, now_s) == 0
        provisioned.lost(pool, "x", now_s, "FUNCTION_ERROR_INIT_FAILURE")
        began_s = now_s
        while not provisioned.missing(pool, now_s):
            now_s += 0.5
        waits.append(now_s - began_s)
        assert provisioned.status([(pool, 3)])[0] is (Status.FAILED if attempt == 5 else Status.IN_PROGRESS)
    assert waits == [0.5, 1, 2, 4, 8, 16]
    assert provisioned.status([(pool, 3)]) == (Status.FAILED, 0, "FUNCTION_ERROR_INIT_FAILURE")
    warm(pool, 1)
    assert provisioned.missing(pool, now_s) == 2
    warm(pool, 2, "f")
    assert provisioned.status([(pool, 3)]) == (Status.READY, 3, "")


def test_the_wait_has_an_end():
    """However often it fails, it is tried again each five minutes."""
    pool = Pool(target=1)
    for _ in range(100):
        provisioned.started(pool, "x")
        provisioned.lost(pool, "x", 0.0, "r")
    assert pool.retry_at_s == provisioned.RETRY_MAX_S


def test_one_that_ends_itself_is_replaced_after_a_moment():
    """So that a function which always exits is not started without end; one that dies at work is replaced at once."""
    pool = Pool()
    provisioned.aim(pool, 2)
    idle, busy = warm(pool, 2)
    assert provisioned.take(pool) == busy
    provisioned.lost(pool, busy, 5.0, "r")
    assert provisioned.missing(pool, 5.0) == 1
    warm(pool, 1, "f")
    provisioned.lost(pool, idle, 5.0, "r")
    assert provisioned.missing(pool, 5.0) == 0 and provisioned.missing(pool, 6.0) == 1
    assert provisioned.status([(pool, 2)])[0] is Status.READY


def test_an_old_one_is_used_until_there_is_another():
    """Its replacement is started first; then it is ended, when it is idle."""
    pool = Pool()
    provisioned.aim(pool, 2)
    old, other = warm(pool, 2)
    provisioned.aged(pool, old)
    assert provisioned.missing(pool, 0.0) == 1 and provisioned.surplus(pool) == []
    assert provisioned.take(pool) == other and provisioned.take(pool) == old
    (new,) = warm(pool, 1, "n")
    assert provisioned.missing(pool, 0.0) == 0 and provisioned.surplus(pool) == []  # busy, and the fresh one stays
    provisioned.freed(pool, old)
    assert provisioned.surplus(pool) == [old]
    provisioned.forget(pool, old)
    assert provisioned.surplus(pool) == [] and provisioned.missing(pool, 0.0) == 0 and pool.ready() == 2 and new in pool.idle


def test_fewer_are_wanted():
    """Idle ones end, busy ones when they are done; what is left is READY."""
    pool = Pool()
    provisioned.aim(pool, 3)
    warm(pool, 3)
    busy = provisioned.take(pool)
    assert busy is not None
    provisioned.aim(pool, 1)
    gone = provisioned.surplus(pool)
    assert len(gone) == 2 and busy not in gone
    provisioned.aim(pool, 0)
    assert len(provisioned.surplus(pool)) == 2
    provisioned.freed(pool, busy)
    assert len(provisioned.surplus(pool)) == 3


def test_a_split_is_ready_when_each_part_is():
    """Environments beyond a share do not count for another."""
    one, two = Pool(), Pool()
    provisioned.aim(one, 2)
    provisioned.aim(two, 1)
    warm(one, 3)
    assert provisioned.status([(one, 2), (two, 1)]) == (Status.IN_PROGRESS, 2, "")
    assert provisioned.status([(one, 2), (None, 1)]) == (Status.IN_PROGRESS, 2, "")
    warm(two, 1)
    assert provisioned.status([(one, 2), (two, 1)]) == (Status.READY, 3, "")


def test_a_worker_that_goes_takes_all_along():
    """The next one begins anew, also where the last attempts had failed."""
    pool = Pool()
    provisioned.aim(pool, 2)
    warm(pool, 1)
    provisioned.started(pool, "x")
    provisioned.lost(pool, "x", 0.0, "r")
    provisioned.clear(pool)
    assert pool.is_empty() and provisioned.missing(pool, 0.0) == 2 and provisioned.status([(pool, 2)])[0] is Status.IN_PROGRESS


STEPS = st.lists(st.tuples(st.sampled_from(["aim", "ready", "take", "free", "lost", "aged", "settle"]), st.integers(0, 7)), max_size=80)


@given(STEPS)
def test_it_always_comes_to_what_is_wanted(steps: list[tuple[str, int]]):
    """Whatever happens, no environment is in two states, never too many are started, and left alone it reaches the target."""
    pool, made, now_s = Pool(), 0, 0.0

    def settle() -> None:
        nonlocal made
        for environment_id in provisioned.surplus(pool):
            assert environment_id in pool.idle
            provisioned.forget(pool, environment_id)
        for _ in range(provisioned.missing(pool, now_s)):
            made += 1
            provisioned.started(pool, f"e{made}")
        assert len(pool.starting) <= provisioned.AT_ONCE

    for kind, which in steps:
        now_s += 1.0
        everything = [*pool.starting, *pool.idle, *pool.busy]
        if kind == "aim":
            provisioned.aim(pool, which)
        elif kind == "ready" and pool.starting:
            provisioned.freed(pool, sorted(pool.starting)[which % len(pool.starting)])
        elif kind == "take":
            provisioned.take(pool)
        elif kind == "free" and pool.busy:
            provisioned.freed(pool, sorted(pool.busy)[which % len(pool.busy)])
        elif kind == "lost" and everything:
            provisioned.lost(pool, everything[which % len(everything)], now_s, "r")
        elif kind == "aged" and everything:
            provisioned.aged(pool, everything[which % len(everything)])
        else:
            settle()
        assert len({*pool.starting, *pool.idle, *pool.busy}) == len(pool.starting) + len(pool.idle) + len(pool.busy)
        assert pool.old <= {*pool.idle, *pool.busy}
    for _ in range(40):
        now_s += provisioned.RETRY_MAX_S
        settle()
        for environment_id in sorted(pool.starting | pool.busy):
            provisioned.freed(pool, environment_id)
    assert len(pool.idle) == pool.target and not pool.old
