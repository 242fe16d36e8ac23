"""What may leave and what may not: addresses and the two nftables tables, as values and text. Pure.

The gateway is a network namespace between the environments and the machine. Its table decides what an environment may reach and
how much of it; the machine's own table trusts nothing that comes from the gateway, and translates addresses. Each would do alone
against the machine itself.

Source: nft(8); RFC 1918, 6598, 3927 and the IANA IPv4 special-purpose address registry.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

DEFAULT_RANGE = "100.64.0.0/10"
SUBNET_PREFIX = 18
FIRST_ENVIRONMENT = 256  # what is below in a subnet is the gateway's and the machine's
DNS_PORT = 53
TABLE_PREFIX = "lambdad_"
INSIDE_TABLE = "lambdad"
UPLINK = "up"  # the gateway's end of the pair that leads to the machine; environments' ends are e1, e2, ...

# Never to be reached, whatever is allowed: this machine, link-local with the metadata services of clouds, multicast, broadcast.
NEVER = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")
# Not to be reached unless allowed: networks that are somebody's own. AWS: a function without a VPC reaches the internet, not yours.
PRIVATE = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15")

NEW_CONNECTIONS_PER_S = 500
NEW_CONNECTIONS_BURST = 1000
PINGS_PER_S = 5
DNS_QUERIES_PER_S = 100
DNS_QUERIES_BURST = 400
# Each question is an entry of the machine's connection table for half a minute: of all environments together 60,000 at most.
ALL_DNS_QUERIES_PER_S = 2000
DNS_CONNECTIONS = 8
PARTS = 256

# An entry of the connection table is kept for this long (seconds) after the last packet. AWS's own is 350 s for an idle connection.
TIMEOUTS_S = {
    "nf_conntrack_generic_timeout": 30,
    "nf_conntrack_icmp_timeout": 10,
    "nf_conntrack_udp_timeout": 30,
    "nf_conntrack_udp_timeout_stream": 120,
    "nf_conntrack_tcp_timeout_syn_sent": 30,
    "nf_conntrack_tcp_timeout_syn_recv": 30,
    "nf_conntrack_tcp_timeout_established": 3600,
    "nf_conntrack_tcp_timeout_fin_wait": 20,
    "nf_conntrack_tcp_timeout_close_wait": 20,
    "nf_conntrack_tcp_timeout_last_ack": 10,
    "nf_conntrack_tcp_timeout_time_wait": 10,
    "nf_conntrack_tcp_timeout_close": 5,
    "nf_conntrack_tcp_timeout_unacknowledged": 60,
    "nf_conntrack_tcp_timeout_max_retrans": 60,
}


class BadNetwork(ValueError):
    """A network is malformed, or there is none left; the text says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """
    What environments may reach beside the internet.

    ``allow`` opens private networks, ``deny`` closes more and goes before ``allow``; both as CIDR. ``range`` is where the subnet
    of environments is taken from. ``connections`` is how many entries of the connection table one environment may hold.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    range: str = DEFAULT_RANGE
    connections: int = 1024


@dataclass(frozen=True, slots=True)
class Subnet:
    """Where environments live: 16,384 addresses, of which one is the gateway's and one the machine's end of the pair to it."""

    network: ipaddress.IPv4Network
    gateway: ipaddress.IPv4Address = field(init=False)
    machine: ipaddress.IPv4Address = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gateway", self.network[1])
        object.__setattr__(self, "machine", self.network[2])

    @property
    def environments(self) -> int:
        """Return how many addresses there are for environments."""
        return self.network.num_addresses - FIRST_ENVIRONMENT - 1

    def environment(self, number: int) -> ipaddress.IPv4Address:
        """Return the address of environment 0, 1, ...; numbers beyond the last begin anew."""
        return self.network[FIRST_ENVIRONMENT + number % self.environments]


def networks(texts: Iterable[str]) -> list[ipaddress.IPv4Network]:
    """Return networks from CIDR texts. Raises BadNetwork for one that is none, has bits beyond its prefix, or is not IPv4."""
    found = []
    for text in texts:
        try:
            found.append(ipaddress.IPv4Network(text))
        except ValueError as error:
            raise BadNetwork(f"{text!r} is no IPv4 network in CIDR notation: {error}") from error
    return found


def choose_subnet(policy: Policy, taken: Sequence[ipaddress.IPv4Network]) -> Subnet:
    """
    Return the first subnet of the policy's range that overlaps nothing that is taken.

    Args:
        taken: networks that the machine has routes to, the default route left out.

    Raises:
        BadNetwork: the range is malformed or smaller than a /18, or every part of it is taken.
    """
    (whole,) = networks([policy.range])
    if whole.prefixlen > SUBNET_PREFIX:
        raise BadNetwork(f"{whole} is too small for environments: a /{SUBNET_PREFIX} or larger is needed")
    for candidate in whole.subnets(new_prefix=SUBNET_PREFIX):
        if not any(candidate.overlaps(other) for other in taken):
            return Subnet(candidate)
    raise BadNetwork(f"every part of {whole} is routed elsewhere on this machine: choose another range")


def table_name(instance: str) -> str:
    """Return the name of an instance's table on the machine; `instance_of` takes it back."""
    return TABLE_PREFIX + instance.replace("-", "_")


def instance_of(table: str) -> str | None:
    """Return the instance that a table belongs to, or None if it is none of ours."""
    return table.removeprefix(TABLE_PREFIX).replace("_", "-") if table.startswith(TABLE_PREFIX) else None


def gateway_rules(policy: Policy, subnet: Subnet, table_entries: int) -> str:
    """
    Return the gateway's table.

    Args:
        table_entries: how many connections the machine can keep track of; all environments together get half of them. They are
            counted in 256 parts, by the source port, because the kernel walks a list to count.

    In ``raw``, before anything is remembered of a packet: one with IP options, such as a route of its own; a source that is not the
    environment's own; and what nobody may reach.
    In ``forward``: environments' connections to the outside, within their bounds, and answers to them. In ``input``: questions to
    the resolver. Nothing passes between environments, because nothing leaves but by the uplink.
    """
    size = subnet.environments
    share = max(table_entries // 2 // PARTS, 16)
    return f"""\
table inet {INSIDE_TABLE} {{
    set never {{ type ipv4_addr; flags interval; auto-merge; elements = {_elements(NEVER)} }}
    set denied {{ type ipv4_addr; flags interval; auto-merge; {_maybe_elements(policy.deny)} }}
    set allowed {{ type ipv4_addr; flags interval; auto-merge; {_maybe_elements(policy.allow)} }}
    set private {{ type ipv4_addr; flags interval; auto-merge; elements = {_elements(PRIVATE)} }}
    set parts {{ typeof th sport; size {PARTS}; flags dynamic; }}
    set connections {{ type ipv4_addr; size {size}; flags dynamic; }}
    set resolver_connections {{ type ipv4_addr; size {size}; flags dynamic; }}
    set rates {{ type ipv4_addr; size {size}; flags dynamic,timeout; timeout 30s; }}
    set pings {{ type ipv4_addr; size {size}; flags dynamic,timeout; timeout 30s; }}
    set questions {{ type ipv4_addr; size {size}; flags dynamic,timeout; timeout 30s; }}
    chain raw {{
        type filter hook prerouting priority raw; policy accept;
        meta nfproto != ipv4 drop
        iifname "{UPLINK}" accept
        iifname "lo" drop
        ip hdrlength > 5 drop
        fib saddr . iif oif missing drop
        ip saddr != {subnet.network} drop
        ip daddr {subnet.gateway} udp dport {DNS_PORT} notrack accept
        ip daddr {subnet.gateway} accept
        ip daddr {subnet.network} drop
        ip daddr @never drop
    }}
    chain sent {{
        type filter hook output priority raw; policy accept;
        meta nfproto != ipv4 drop
        ip saddr {subnet.gateway} udp sport {DNS_PORT} notrack
    }}
    chain input {{
        type filter hook input priority filter; policy drop;
        iifname "{UPLINK}" drop
        ip daddr {subnet.gateway} udp dport {DNS_PORT} jump ask
        ip daddr {subnet.gateway} tcp dport {DNS_PORT} jump connect
    }}
    chain ask {{
        update @questions {{ ip saddr limit rate over {DNS_QUERIES_PER_S}/second burst {DNS_QUERIES_BURST} packets }} drop
        limit rate {ALL_DNS_QUERIES_PER_S}/second burst {ALL_DNS_QUERIES_PER_S} packets accept
        drop
    }}
    chain connect {{
        ct state established accept
        add @resolver_connections {{ ip saddr ct count over {DNS_CONNECTIONS} }} drop
        update @rates {{ ip saddr limit rate {NEW_CONNECTIONS_PER_S}/second burst {NEW_CONNECTIONS_BURST} packets }} accept
        drop
    }}
    chain forward {{
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname "{UPLINK}" drop
        oifname != "{UPLINK}" drop
        ct state != new drop
        ip daddr @never drop
        ip daddr @denied reject with icmp type admin-prohibited
        ip daddr @allowed goto open
        ip daddr @private reject with icmp type admin-prohibited
        goto open
    }}
    chain open {{
        meta l4proto icmp goto ping
        meta l4proto != {{ tcp, udp }} drop
        update @rates {{ ip saddr limit rate over {NEW_CONNECTIONS_PER_S}/second burst {NEW_CONNECTIONS_BURST} packets }} drop
        add @connections {{ ip saddr ct count over {policy.connections} }} reject with icmp type admin-prohibited
        add @parts {{ th sport & {PARTS - 1} ct count over {share} }} reject with icmp type admin-prohibited
        accept
    }}
    chain ping {{
        icmp type != echo-request drop
        update @pings {{ ip saddr limit rate over {PINGS_PER_S}/second burst {PINGS_PER_S} packets }} drop
        add @connections {{ ip saddr ct count over {policy.connections} }} drop
        accept
    }}
}}
"""


def machine_rules(table: str, interface: str, subnet: Subnet, opened: Iterable[str] = ()) -> str:
    """
    Return the machine's own table, to be loaded as one transaction that replaces what was there under its name.

    Args:
        interface: the machine's end of the pair to the gateway.
        opened: interfaces whose forwarding was off before us; for packets that are not ours it stays as good as off. The set of
            that name is also how a sweep knows what to set back.
    """
    names = ", ".join(f'"{name}"' for name in opened)
    elements = f"elements = {{ {names} }}" if names else ""
    return f"""\
table inet {table}
delete table inet {table}
table inet {table} {{
    set opened {{ type ifname; {elements} }}
    chain raw {{
        type filter hook prerouting priority raw; policy accept;
        iifname != "{interface}" accept
        meta nfproto != ipv4 drop
        ip saddr != {subnet.network} drop
        ip daddr {subnet.network} drop
        ip daddr {_elements(NEVER)} drop
        fib daddr type != unicast drop
    }}
    chain input {{
        type filter hook input priority filter; policy accept;
        iifname "{interface}" drop
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname "{interface}" accept
        oifname "{interface}" ct state established,related accept
        oifname "{interface}" drop
        iifname != @opened accept
        ct state established,related accept
        ct status dnat accept
        drop
    }}
    chain source {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {subnet.network} oifname != "{interface}" masquerade
    }}
}}
"""


def resolv_conf(subnet: Subnet) -> str:
    """Return what an environment's /etc/resolv.conf says where there is a way out."""
    return f"nameserver {subnet.gateway}\noptions timeout:3 attempts:2\n"


def _elements(texts: Iterable[str]) -> str:
    return "{ " + ", ".join(str(one) for one in networks(texts)) + " }"


def _maybe_elements(texts: Sequence[str]) -> str:
    return f"elements = {_elements(texts)}" if texts else ""
