"""The way out as settings have it: what is allowed, what is missing for it, and who resolves names."""

import asyncio
import ipaddress
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from lambdad.kit import threads
from lambdad.sandbox import egress, egress_probe, egress_rules, machine_network, probe
from lambdad.settings import Settings
from lambdad.worker.dns_relay import DnsRelay

DNS_PORT = 53
Failed = machine_network.EgressFailed
MOST_RESOLVERS = 3  # as many as the C library asks
NEEDS_ROOT = "it needs root: an ordinary user may not connect a network to the machine's"


def policy(settings: Settings) -> egress_rules.Policy:
    """Return what the settings let environments reach."""
    return egress_rules.Policy(
        allow=settings.egress_allow,
        deny=settings.egress_deny,
        range=settings.egress_range,
        connections=max(settings.egress_connections, 1),
    )


def examine(settings: Settings) -> egress_probe.Report:
    """Try out in a namespace of its own whether there can be a way out. Blocks for some tens of milliseconds, changes nothing."""
    if os.geteuid() != 0:
        return egress_probe.Report(NEEDS_ROOT)
    return asyncio.run(threads.run(egress_probe.probe, policy(settings)))


def findings(settings: Settings, level: probe.Level) -> list[probe.Finding]:
    """Say for `lambdad doctor` whether functions can reach the internet, by what, and what may stand in the way."""
    if level is probe.Level.PLAIN:
        return [probe.Finding("egress", True, "the machine's own network", "functions reach whatever the machine reaches, itself included")]
    report = examine(settings)
    if report.missing:
        return [probe.Finding("egress", False, report.missing, "functions reach lambdad's own API only; --egress on is refused")]
    on = settings.egress == "on"
    asked = "on" if on else "off, as set; --egress on can be had"
    found = [probe.Finding("egress", True, f"{asked} (nftables, environments in {report.subnet})")]
    ways = ", ".join(report.uplinks) or "none: there is no default route"
    opens = f"forwarding is off on {', '.join(report.shut)}: on while lambdad runs with egress" if report.shut else ""
    found.append(probe.Finding("egress uplinks", bool(report.uplinks), ways, opens))
    if report.firewall:
        passing = "forwarded packets are dropped unless its rules let lambdad+ pass, see docs/network.md"
        found.append(probe.Finding("egress firewall", False, ", ".join(report.firewall), passing))
    return found


async def sweep() -> None:
    """Set back what dead instances have left on the machine. Raises `Failed`."""
    await threads.run(machine_network.sweep)


class Resolvers:
    """The machine's own resolvers, read again when the file has changed. Source: resolv.conf(5)."""

    def __init__(self, path: Path = Path("/etc/resolv.conf")) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._found: tuple[tuple[str, int], ...] = ()

    def __call__(self) -> Sequence[tuple[str, int]]:
        """Return address and port of each; of this machine where none is named."""
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_ino)
            if seen != self._seen:
                self._found = tuple((address, DNS_PORT) for address in nameservers(self._path.read_text(errors="replace")))
                self._seen = seen
        except OSError:
            self._found, self._seen = (), None
        return self._found or (("127.0.0.1", DNS_PORT),)


def nameservers(text: str) -> list[str]:
    """Return the addresses that a resolv.conf names, at most three; what is no address is passed over."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                ipaddress.ip_address(words[1])
            except ValueError:
                continue
            found.append(words[1])
    return found[:MOST_RESOLVERS]


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[egress.Egress]:
    """Open the way out, with name resolution. Raises EgressFailed, BadNetwork."""
    async with egress.open_egress(policy(settings)) as way_out:
        relay = DnsRelay(way_out.resolver_udp, way_out.resolver_tcp, Resolvers())
        await relay.start()
        try:
            yield way_out
        finally:
            relay.close()
