"""The way out: a gateway in a network namespace of its own, and a network for each environment, made ahead.

    environment ── veth ──┐
    environment ── veth ──┤ gateway ── veth ── machine ── uplinks
    environment ── veth ──┘

The gateway is held open by this process alone. When it ends, however it ends, the kernel removes the gateway and every interface
that leads to it. An environment's network is never used again: the kernel removes it, with its interface, after the last process
of the environment, many at once and on nobody's time.

Bounds: ``SPARE_NETWORKS`` wait, made in batches off the path of whoever takes one; there are as many addresses as the subnet has.
"""

from __future__ import annotations

import asyncio
import collections
import os
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lambdad.kit import threads
from lambdad.sandbox import egress_rules, instances, machine_network, netlink
from lambdad.sandbox.inside import kernel

SPARE_NETWORKS = 16
BATCH = 8
WATCH_EVERY_S = 5.0
_RESOLVER_BACKLOG = 128
_GATEWAY_MAC, _ENVIRONMENT_MAC = b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02"
_INSIDE_INDEX, _FIRST_INDEX = 1000, 1024  # above what the kernel gives to devices of its own


class Network:
    """
    One environment's network: a namespace with an interface, an address and a route, in which no process has been yet.

    Resource handling: ``fd`` is whoever's who detaches it; ``release`` gives the address back, once nothing of the environment runs.
    """

    def __init__(self, egress: Egress, number: int, fd: int) -> None:
        self.address = str(egress.subnet.environment(number))
        self._egress = egress
        self._number = number
        self._fd = fd

    def detach(self) -> int:
        """Return the descriptor of the namespace, from here on the caller's."""
        fd, self._fd = self._fd, -1
        return fd

    def release(self) -> None:
        """Give everything back. Idempotent."""
        if self._fd >= 0:
            os.close(self.detach())
        self._egress.forget(self._number)


@dataclass(frozen=True, slots=True)
class Statistics:
    """``made`` counts networks ever made, ``in_use`` those lent out, ``spare`` those waiting."""

    made: int
    in_use: int
    spare: int


class Egress:
    """
    The gateway and its networks.

    ``resolver_udp`` and ``resolver_tcp`` are bound to the gateway's address, port 53; what comes there has come from the environment
    whose address it bears.

    Resource handling: made by ``open_egress`` only.
    """

    def __init__(self, policy: egress_rules.Policy, subnet: egress_rules.Subnet, table: str, interface: str) -> None:
        self.policy = policy
        self.subnet = subnet
        self.resolver_udp: socket.socket
        self.resolver_tcp: socket.socket
        self._table = table
        self._interface = interface
        self._gateway_fd = -1
        self._mtu = machine_network.DEFAULT_MTU
        self._opened: list[str] = []
        self._spare: collections.deque[Network] = collections.deque()
        self._numbers_used: set[int] = set()
        self._next_number = 0
        self._made = 0
        self._under_way: set[asyncio.Future[list[Network]]] = set()
        self._refilling = False
        self._closed = False

    # -- networks

    async def acquire(self) -> Network:
        """
        Lend a network, made on the spot if none is spare.

        Raises:
            EgressFailed: the kernel refused, or no address is free.
        """
        if not self._spare:
            making = self._begin(self._take_numbers(1))
            try:
                await asyncio.wait((making,))
            except asyncio.CancelledError:
                making.add_done_callback(self._keep)
                raise
            network = making.result()[0]
        else:
            network = self._spare.popleft()
        self._refill()
        return network

    def _begin(self, numbers: list[int]) -> asyncio.Future[list[Network]]:
        """Have a thread make networks; addresses of those that could not be made are free again."""

        def done(making: asyncio.Future[list[Network]]) -> None:
            self._under_way.discard(making)
            if making.cancelled() or making.exception() is not None:
                self._numbers_used.difference_update(numbers)
            else:
                self._made += len(numbers)

        making = asyncio.get_running_loop().run_in_executor(None, self._make, numbers)
        self._under_way.add(making)
        making.add_done_callback(done)
        return making

    def forget(self, number: int) -> None:
        """Let an address be used again, after all others have had their turn."""
        self._numbers_used.discard(number)

    def statistics(self) -> Statistics:
        """Return counts since the start."""
        return Statistics(self._made, len(self._numbers_used) - len(self._spare), len(self._spare))

    def _refill(self) -> None:
        wanted = min(SPARE_NETWORKS - len(self._spare), BATCH)
        if wanted > 0 and not self._refilling and not self._closed:
            self._refilling = True
            try:
                numbers = self._take_numbers(wanted)
            except machine_network.EgressFailed:
                self._refilling = False
                return  # whoever finds none is told
            self._begin(numbers).add_done_callback(self._refilled)

    def _refilled(self, making: asyncio.Future[list[Network]]) -> None:
        self._refilling = False
        failed = making.cancelled() or making.exception() is not None
        self._keep(making)
        if not failed:
            self._refill()

    def _keep(self, making: asyncio.Future[list[Network]]) -> None:
        """Keep what was made; what could not be made is reported to whoever finds none spare."""
        if making.cancelled() or making.exception() is not None:
            return
        for network in making.result():
            if self._closed:
                network.release()
            else:
                self._spare.append(network)

    def _take_numbers(self, count: int) -> list[int]:
        taken: list[int] = []
        for _ in range(self.subnet.environments):
            number = self._next_number
            self._next_number = (number + 1) % self.subnet.environments
            if number not in self._numbers_used:
                self._numbers_used.add(number)
                taken.append(number)
            if len(taken) == count:
                return taken
        for number in taken:
            self._numbers_used.discard(number)
        raise machine_network.EgressFailed("take an address", 0, f"all of {self.subnet.network} are in use")

    def _make(self, numbers: Sequence[int]) -> list[Network]:
        """Make networks, in a thread. Raises EgressFailed."""
        made: list[Network] = []
        with in_namespace(self._gateway_fd):
            links = netlink.open_socket()
            try:
                for number in numbers:
                    made.append(self._make_one(links, number))
            except OSError as refused:
                for network in made:
                    os.close(network.detach())
                raise machine_network.EgressFailed("make a network", refused.errno or 0, str(refused)) from refused
            finally:
                links.close()
        return made

    def _make_one(self, links: socket.socket, number: int) -> Network:
        """Make one network. SAFETY: this thread goes from one namespace to the next, and back where it came from at the end."""
        kernel.unshare(kernel.CLONE_NEWNET, "unshare a network namespace")
        namespace_fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            machine_network.forbid_ipv6("default")
            address, router = self.subnet.environment(number).packed, self.subnet.gateway.packed
            index = _FIRST_INDEX + number
            near = netlink.End(f"e{number}", index=index, hardware=_GATEWAY_MAC)
            far = netlink.End("eth0", index=_INSIDE_INDEX, hardware=_ENVIRONMENT_MAC, namespace_fd=namespace_fd)
            netlink.send(
                links,
                netlink.veth(near, far, mtu=self._mtu),
                netlink.route(index, address, 32),
                netlink.neighbour(index, address, _ENVIRONMENT_MAC),
            )
            with netlink.open_socket() as inside:
                netlink.send(
                    inside,
                    netlink.link_up(_INSIDE_INDEX),
                    netlink.address(_INSIDE_INDEX, address),
                    netlink.route(_INSIDE_INDEX, router, 32),
                    netlink.neighbour(_INSIDE_INDEX, router, _GATEWAY_MAC),
                    netlink.route(_INSIDE_INDEX, bytes(4), 0, via=router, source=address),
                )
        except BaseException:
            os.close(namespace_fd)
            raise
        return Network(self, number, namespace_fd)

    # -- the gateway

    def open(self) -> None:
        """Make the gateway and connect it to the machine. Blocks for some tens of milliseconds. Raises EgressFailed."""
        try:
            self._open_gateway()
            self._connect_machine()
        except netlink.NetlinkFailed as refused:
            raise machine_network.EgressFailed(refused.step, refused.errno or 0, os.strerror(refused.errno or 0)) from refused

    def _open_gateway(self) -> None:
        with in_namespace(None):
            kernel.unshare(kernel.CLONE_NEWNET, "unshare the gateway's network namespace")
            self._gateway_fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            machine_network.forbid_ipv6("default")
            machine_network.configure("all", forwarding=1, accept_redirects=0, send_redirects=0)
            machine_network.configure("default", forwarding=1, accept_redirects=0, send_redirects=0, rp_filter=0)
            machine_network.nft(rules=egress_rules.gateway_rules(self.policy, self.subnet, machine_network.connection_table_entries()))
            for name, seconds in egress_rules.TIMEOUTS_S.items():
                with suppress(OSError):  # a kernel that has not this one keeps entries for longer
                    Path("/proc/sys/net/netfilter", name).write_text(str(seconds))

    def _connect_machine(self) -> None:
        subnet, known = self.subnet, machine_network.routes()
        ways = machine_network.uplinks(known, self.policy, self._interface)
        self._mtu = machine_network.mtu(ways)
        near = netlink.End(self._interface, hardware=_GATEWAY_MAC, alias=self._table)
        far = netlink.End(egress_rules.UPLINK, hardware=_ENVIRONMENT_MAC, namespace_fd=self._gateway_fd)
        with netlink.open_socket() as machine:
            netlink.send(machine, netlink.veth(near, far, mtu=self._mtu))
            self._arm(ways)
            index = socket.if_nametoindex(self._interface)
            netlink.send(
                machine,
                netlink.address(index, subnet.machine.packed),
                netlink.route(index, subnet.gateway.packed, 32),
                netlink.neighbour(index, subnet.gateway.packed, _ENVIRONMENT_MAC),
                netlink.route(index, subnet.network.network_address.packed, subnet.network.prefixlen, via=subnet.gateway.packed),
            )
        with in_namespace(self._gateway_fd):
            index = socket.if_nametoindex(egress_rules.UPLINK)
            with netlink.open_socket() as links:
                netlink.send(
                    links,
                    netlink.link_up(index),
                    netlink.address(index, subnet.gateway.packed),
                    netlink.route(index, subnet.machine.packed, 32),
                    netlink.neighbour(index, subnet.machine.packed, _GATEWAY_MAC),
                    netlink.route(index, bytes(4), 0, via=subnet.machine.packed),
                )
            self.resolver_udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            self.resolver_udp.bind((str(subnet.gateway), egress_rules.DNS_PORT))
            self.resolver_tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            self.resolver_tcp.bind((str(subnet.gateway), egress_rules.DNS_PORT))
            self.resolver_tcp.listen(_RESOLVER_BACKLOG)

    def _arm(self, ways: Sequence[str]) -> None:
        """Load the machine's table, and only then let packets of these interfaces be forwarded. Raises EgressFailed."""
        others = [name for name in machine_network.our_tables() if name != self._table]
        shut = {name for name in ways if not machine_network.is_forwarding(name)}
        opened: set[str] = set()
        if not machine_network.is_forwarding("all"):  # else the machine is a router by somebody's wish, and not ours to restrain
            # What a neighbour has opened is ours to shut, too, if he stops before us.
            opened = {*self._opened, *shut, *(machine_network.opened_by(others) & set(ways))}
        rules = egress_rules.machine_rules(self._table, self._interface, self.subnet, sorted(opened))
        machine_network.nft(rules=rules)
        self._opened = sorted(opened)
        machine_network.configure(self._interface, forwarding=1, accept_redirects=0, send_redirects=0)
        machine_network.forbid_ipv6(self._interface)
        for name in shut:
            machine_network.configure(name, forwarding=1)

    def look_after(self) -> None:
        """Open the way again where the machine's routes, or its mind about forwarding, have changed. Blocks. Raises EgressFailed."""
        ways = machine_network.uplinks(machine_network.routes(), self.policy, self._interface)
        if any(not machine_network.is_forwarding(name) for name in ways) or (self._opened and machine_network.is_forwarding("all")):
            self._arm(ways)

    async def shut(self) -> None:
        """Take no more orders, and wait for the threads that are in the gateway. The networks that wait are given up."""
        self._closed = True
        while self._under_way:
            await asyncio.wait(self._under_way)
        while self._spare:
            self._spare.popleft().release()

    def close(self) -> None:
        """Remove everything and set back what was changed. Blocks for tens of milliseconds."""
        for name in ("resolver_udp", "resolver_tcp"):
            if hasattr(self, name):
                getattr(self, name).close()
        with suppress(OSError), netlink.open_socket() as machine:
            netlink.send(machine, netlink.delete_link(self._interface))
        with suppress(OSError):  # the next start's sweep tries again
            machine_network.remove(self._table)
        if self._gateway_fd >= 0:
            os.close(self._gateway_fd)
            self._gateway_fd = -1


class in_namespace:  # reads as the function that it is
    """Have this thread in another network namespace for a while. SAFETY: a thread that cannot come back must not go on."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        self._home = -1

    def __enter__(self) -> None:
        # The main thread's namespace is what /proc/net shows, and where new connections begin: it stays where it is.
        assert threading.current_thread() is not threading.main_thread()
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        if self._fd is not None:
            kernel.setns(self._fd, kernel.CLONE_NEWNET, "enter the gateway")

    def __exit__(self, *_: object) -> None:
        try:
            kernel.setns(self._home, kernel.CLONE_NEWNET, "return")
        except OSError:
            os.abort()
        os.close(self._home)


def interface_name() -> str:
    """Return the name of the machine's end: ``lambdad`` and this process's id, within the kernel's fifteen letters."""
    return f"lambdad{os.getpid()}"[:15]


@asynccontextmanager
async def open_egress(policy: egress_rules.Policy) -> AsyncIterator[Egress]:
    """
    Sweep dead instances' leftovers, open the gateway, and remove all of it at the end.

    Raises:
        EgressFailed: with the step that failed.
        BadNetwork: a network of the policy is malformed, or its range is taken.

    Ordering: at the end no environment is left; what still runs loses its network.
    """
    await threads.run(machine_network.sweep)
    subnet = egress_rules.choose_subnet(policy, [route.network for route in machine_network.routes() if route.network.prefixlen])
    egress = Egress(policy, subnet, egress_rules.table_name(instances.own_instance()), interface_name())
    watching: asyncio.Task[None] | None = None
    try:
        await threads.run(egress.open)
        egress._refill()
        watching = asyncio.get_running_loop().create_task(_watch(egress))
        yield egress
    finally:
        if watching is not None:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        await egress.shut()
        await threads.run(egress.close)


async def _watch(egress: Egress) -> None:
    """Follow the machine's routes until cancelled: a laptop changes from cable to radio."""
    while True:
        await asyncio.sleep(WATCH_EVERY_S)
        with suppress(OSError):  # tried again soon
            await threads.run(egress.look_after)
