"""What egress changes on the machine itself, and how it is set back: one nftables table, and forwarding on uplinks.

Everything else that egress makes belongs to a network namespace that ends with the worker, and with it the pair of interfaces that
leads there. The table stays after a kill -9, does no harm, and is removed by the next start's `sweep`.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lambdad.sandbox import egress_rules, instances

NFT_PATH = "/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin"
DEFAULT_MTU = 1500
DEFAULT_TABLE_ENTRIES = 65536
_NFT_WITHIN_S = 10
_CONFIGURATION = Path("/proc/sys/net/ipv4/conf")
_SIOCGIFMTU = 0x8921
_ROUTE_UP, _ROUTE_REJECT = 0x1, 0x200


class EgressFailed(OSError):
    """Egress could not be set up; ``step`` and the text say at what."""

    def __init__(self, step: str, errno: int, text: str) -> None:
        super().__init__(errno, f"egress: {step}: {text}")
        self.step = step


@dataclass(frozen=True, slots=True)
class Route:
    """One route of the machine's main table."""

    interface: str
    network: ipaddress.IPv4Network


def find_nft() -> str | None:
    """Return the path of the ``nft`` program, or None. Only where the system keeps such programs: it runs as root."""
    return shutil.which("nft", path=NFT_PATH)


def nft(*arguments: str, rules: str | None = None) -> str:
    """
    Run ``nft`` in the network namespace of this thread; returns what it prints.

    Args:
        rules: loaded in one transaction, all or nothing.

    Raises:
        EgressFailed: it is not installed, or the kernel refused.
    """
    program = find_nft()
    if program is None:
        raise EgressFailed("nft", 0, "the program nft is not installed (Debian package nftables)")
    command = [program, *arguments] if rules is None else [program, "-f", "-"]
    try:
        done = subprocess.run(command, input=rules, capture_output=True, text=True, timeout=_NFT_WITHIN_S, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise EgressFailed("nft", getattr(error, "errno", 0) or 0, str(error)) from error
    if done.returncode != 0:
        raise EgressFailed("nft", 0, (done.stderr.strip().splitlines() or ["failed"])[0])
    return done.stdout


def routes() -> list[Route]:
    """Return the machine's IPv4 routes. Source: Linux net/ipv4/fib_trie.c, /proc/net/route."""
    found = []
    try:
        lines = Path("/proc/net/route").read_text().splitlines()[1:]
    except OSError:
        return []
    for line in lines:
        fields = line.split()
        if int(fields[3], 16) & _ROUTE_UP and not int(fields[3], 16) & _ROUTE_REJECT:
            destination, mask = (socket.inet_ntoa(struct.pack("=I", int(fields[place], 16))) for place in (1, 7))
            found.append(Route(fields[0], ipaddress.IPv4Network(f"{destination}/{mask}", strict=False)))
    return found


def uplinks(known: Iterable[Route], policy: egress_rules.Policy, own: str) -> list[str]:
    """Return the interfaces over which environments' packets leave: those of default routes and of networks that are allowed."""
    allowed = egress_rules.networks(policy.allow)
    wanted = (
        route.interface for route in known if not route.network.prefixlen or any(route.network.overlaps(network) for network in allowed)
    )
    return list(dict.fromkeys(name for name in wanted if name not in (own, "lo")))


def mtu(interfaces: Iterable[str]) -> int:
    """Return the smallest MTU of some interfaces, at most 1500."""
    smallest = DEFAULT_MTU
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as handle:
        for name in interfaces:
            request = struct.pack("16si12x", name.encode(), 0)
            try:
                smallest = min(smallest, struct.unpack("16si12x", fcntl.ioctl(handle, _SIOCGIFMTU, request))[1])
            except OSError:
                continue  # it has just gone
    return smallest


def is_forwarding(interface: str) -> bool:
    """Say whether packets that come in by an interface are forwarded."""
    try:
        return (_CONFIGURATION / interface / "forwarding").read_text().strip() != "0"
    except OSError:
        return False


def connection_table_entries() -> int:
    """Return how many connections the machine can keep track of; one number for all its network namespaces."""
    try:
        return int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text())
    except OSError:
        return DEFAULT_TABLE_ENTRIES  # the kernel sets it as the first rules are loaded


def configure(interface: str, **values: int) -> None:
    """Set IPv4 parameters of one interface in this thread's network namespace. Raises EgressFailed."""
    for name, value in values.items():
        try:
            (_CONFIGURATION / interface / name).write_text(str(value))
        except OSError as refused:
            raise EgressFailed(f"set net.ipv4.conf.{interface}.{name}", refused.errno or 0, str(refused.strerror)) from refused


def forbid_ipv6(interface: str) -> None:
    """Have an interface of this thread's network namespace know no IPv6, or by "default" those that are yet to come."""
    with suppress(FileNotFoundError):  # a kernel without IPv6 has nothing to forbid
        Path(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6").write_text("1")


def opened_by(tables: Iterable[str]) -> set[str]:
    """Return the interfaces whose forwarding these tables' owners have switched on. Raises EgressFailed."""
    found: set[str] = set()
    for table in tables:
        try:
            listed = json.loads(nft("-j", "list", "set", "inet", table, "opened"))["nftables"]
        except EgressFailed:
            continue  # its owner has removed it meanwhile
        found.update(name for one in listed for name in one.get("set", {}).get("elem", ()))
    return found


def our_tables() -> list[str]:
    """Return the names of the tables of all instances, dead and alive. Raises EgressFailed."""
    listed = json.loads(nft("-j", "list", "tables", "inet"))["nftables"]
    names = [one["table"]["name"] for one in listed if "table" in one]
    return [name for name in names if name.startswith(egress_rules.TABLE_PREFIX)]


def remove(table: str) -> None:
    """Set back what an instance has changed, as far as no other one needs it, and remove its table. Raises EgressFailed."""
    others = [name for name in our_tables() if name != table]
    if not is_forwarding("all"):  # else somebody has made this machine a router since: Docker does
        for interface in opened_by([table]) - opened_by(others):
            if is_forwarding(interface):
                configure(interface, forwarding=0)
    nft("delete", "table", "inet", table)


def sweep() -> list[str]:
    """Set back what dead instances have left; returns their ids. A living neighbour's is never touched. Raises EgressFailed."""
    swept = []
    for table in our_tables():
        instance = egress_rules.instance_of(table)
        if instance is not None and not instances.is_alive(instance):
            remove(table)
            swept.append(instance)
    return swept
