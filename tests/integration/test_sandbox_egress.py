"""The gateway and its networks, on a network namespace that stands for the machine."""

import asyncio
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox_fixtures import needs_root  # type: ignore[import-not-found]
from sandbox_stage import open_stage  # type: ignore[import-not-found]

from lambdad.kit import threads
from lambdad.sandbox import egress, egress_probe, egress_rules, fence, machine_network, netlink, zygote
from lambdad.sandbox.inside import kernel

pytestmark = [
    *needs_root,
    pytest.mark.skipif(machine_network.find_nft() is None, reason="needs the program nft"),
    pytest.mark.skipif(shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin") is None, reason="needs the program ip"),
]

LOOK = """
devices = open("/proc/net/dev").read()
print([devices.count(name) for name in ("eth0:", "lo:")], socket.gethostname(), sorted(os.listdir("/proc/self/fd")))
"""
ADDRESS = """
asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asker.connect(("198.51.100.1", 9))
print(asker.getsockname()[0])
"""


@pytest.fixture
def machine() -> Iterator[None]:
    """Have this test, and the threads it starts, on a network of their own."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    kernel.unshare(kernel.CLONE_NEWNET)
    try:
        with netlink.open_socket() as links:
            netlink.send(links, netlink.link_up(1))
        yield
    finally:
        kernel.setns(home, kernel.CLONE_NEWNET)
        os.close(home)


def _inside_gateway(way_out: egress.Egress) -> list[str]:
    """Return the names of the gateway's interfaces; in a thread."""
    with egress.in_namespace(way_out._gateway_fd):
        return sorted(name for _, name in socket.if_nameindex())


async def _settled(way_out: egress.Egress) -> None:
    """Wait until as many networks are spare as shall be."""
    async with asyncio.timeout(20):
        while way_out.statistics().spare < egress.SPARE_NETWORKS:
            await asyncio.sleep(0.01)


async def test_each_environment_has_a_network_of_its_own(machine: None, tmp_path: Path) -> None:
    """Addresses differ; an interface goes with its environment, and its address goes to the end of the line."""
    async with egress.open_egress(egress_rules.Policy()) as way_out:
        async with open_stage(tmp_path, way_out=way_out) as stage:
            await _settled(way_out)
            ends = [await stage.run(ADDRESS) for _ in range(3)]
            addresses = {text.strip() for _, text in ends}
            assert len(addresses) == 3
            assert all(address.startswith("100.64.1.") for address in addresses)
            alive = await stage.start("time.sleep(60)")
            await _settled(way_out)
            assert way_out.statistics().in_use == 1
            wanted = 1 + egress.SPARE_NETWORKS + 2  # the one alive, spare ones, the way to the machine and loopback
            async with asyncio.timeout(20):
                while len(await threads.run(_inside_gateway, way_out)) != wanted:
                    await asyncio.sleep(0.02)
            await alive.kill()
            assert way_out.statistics().in_use == 0
    assert [name for _, name in socket.if_nameindex()] == ["lo"]
    assert machine_network.our_tables() == []


async def test_a_fence_with_a_way_out_is_as_closed(machine: None, tmp_path: Path) -> None:
    """There are two interfaces and no descriptor more than without a way out."""
    async with open_stage(tmp_path / "without") as stage:
        _, without = await stage.run(LOOK)
    async with egress.open_egress(egress_rules.Policy()) as way_out, open_stage(tmp_path / "with", way_out=way_out) as stage:
        _, with_ = await stage.run(LOOK)
    assert with_ == without.replace("[0, 1]", "[1, 1]")


async def test_nobody_waits_for_a_network_in_vain(machine: None) -> None:
    """More at once than are spare are all made, and a caller who gives up leaves what was made to the next one."""
    async with egress.open_egress(egress_rules.Policy()) as way_out:
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(way_out.acquire()) for _ in range(3 * egress.SPARE_NETWORKS)]
        networks = [task.result() for task in asked]
        assert len({one.address for one in networks}) == len(networks)
        hasty = [asyncio.ensure_future(way_out.acquire()) for _ in range(40)]
        await asyncio.sleep(0)
        for one in hasty:
            one.cancel()
        for ended in await asyncio.gather(*hasty, return_exceptions=True):
            if isinstance(ended, egress.Network):
                ended.release()
        for network in networks:
            network.release()
            network.release()
        await _settled(way_out)
        async with asyncio.timeout(10):
            while way_out.statistics().in_use:
                await asyncio.sleep(0.01)


async def test_addresses_that_are_all_in_use_are_said_to_be(machine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no address is free the next one is refused, and one that was given back is used."""
    monkeypatch.setattr(egress_rules.Subnet, "environments", 20)
    async with egress.open_egress(egress_rules.Policy()) as way_out:
        networks = [await way_out.acquire() for _ in range(4)]
        with pytest.raises(machine_network.EgressFailed, match="are in use"):
            for _ in range(30):
                networks.append(await way_out.acquire())
        assert len(networks) == 20
        given_back = networks.pop()
        given_back.release()
        async with asyncio.timeout(10):
            while True:
                try:
                    assert (await way_out.acquire()).address == given_back.address
                    break
                except machine_network.EgressFailed:  # its interface is on its way out
                    await asyncio.sleep(0.01)


async def test_what_cannot_be_opened_leaves_nothing(machine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a step fails everything before it is taken back."""

    def refuse(*_: object) -> None:
        raise machine_network.EgressFailed("arm", 1, "refused")

    monkeypatch.setattr(egress.Egress, "_arm", refuse)
    with pytest.raises(machine_network.EgressFailed, match="refused"):
        async with egress.open_egress(egress_rules.Policy()):
            pass
    assert [name for _, name in socket.if_nameindex()] == ["lo"]
    assert machine_network.our_tables() == []


async def test_a_spawn_that_fails_gives_its_network_back(machine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fence that could not be completed holds no address."""
    async with egress.open_egress(egress_rules.Policy()) as way_out, open_stage(tmp_path, way_out=way_out) as stage:

        def refuse(self: zygote.Zygote, sandbox: fence.Sandbox, *_: object) -> None:
            sandbox.stillborn(zygote.ZygoteFailed("stage", "fork", 11))

        monkeypatch.setattr(zygote.Zygote, "_fork", refuse)
        with pytest.raises(zygote.ZygoteFailed):
            await stage.spawn()
        await _settled(way_out)
        assert way_out.statistics().in_use == 0


async def test_the_sweep_knows_the_dead_from_the_living(machine: None) -> None:
    """A dead instance's table is removed; the living's, another pid namespace's and other programs' stay."""
    subnet = egress_rules.choose_subnet(egress_rules.Policy(), [])
    namespace = os.stat("/proc/self/ns/pid").st_ino
    dead, foreign = f"4194303-1-{namespace}", f"1-1-{namespace + 1}"
    for instance in (dead, foreign):
        machine_network.nft(rules=egress_rules.machine_rules(egress_rules.table_name(instance), "lambdad0", subnet))
    machine_network.nft(rules="table inet filter { }")
    async with egress.open_egress(egress_rules.Policy()) as way_out:
        tables = machine_network.our_tables()
        assert egress_rules.table_name(dead) not in tables
        assert egress_rules.table_name(foreign) in tables
        assert way_out._table in tables
    assert machine_network.our_tables() == [egress_rules.table_name(foreign)]
    assert "table inet filter" in machine_network.nft("list", "tables")


async def test_the_probe_changes_nothing(machine: None) -> None:
    """It finds that a way out can be had, and leaves no interface and no table."""
    report = await threads.run(egress_probe.probe, egress_rules.Policy())
    assert report.missing == ""
    assert report.uplinks == ()
    assert [name for _, name in socket.if_nameindex()] == ["lo"]
    assert machine_network.nft("list", "tables") == ""


async def test_without_a_way_out_it_is_not_loaded() -> None:
    """A worker without egress does not even import it."""
    code = "import sys, lambdad.app.worker; print([name for name in sys.modules if 'egress' in name or 'netlink' in name or 'dns' in name])"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    said = (await process.communicate())[0].decode().strip()
    assert said == "['lambdad.sandbox.egress_rules']"
