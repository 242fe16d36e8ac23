"""Addresses that no message is posted to.

At link-local addresses, and at some others, clouds answer whatever runs on a machine with that machine's credentials; multicast and
the unspecified address are no endpoints.
"""

import ipaddress
from collections.abc import Sequence
from typing import Final, TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_METADATA: Final = frozenset(
    {
        ipaddress.ip_address("100.100.100.200"),  # Alibaba Cloud
        ipaddress.ip_address("168.63.129.16"),  # Azure
        ipaddress.ip_address("192.0.0.192"),  # Oracle Cloud
        ipaddress.ip_address("fd00:ec2::254"),  # EC2
        ipaddress.ip_address("fd20:ce::254"),  # Google Cloud
    }
)
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
_FOUR_BYTES: Final = 0xFFFF_FFFF


def is_forbidden(text: str, denied: Sequence[Network] = ()) -> bool:
    """
    Say whether an address is one that no message is posted to.

    Args:
        text: the address; a scope ("fe80::1%eth0") does not count.
        denied: further networks.
    """
    address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        address = _embedded(address) or address
    if any(address in network for network in denied):
        return True
    return address.is_link_local or address.is_multicast or address.is_unspecified or address in _METADATA


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address leads to."""
    if address in _TRANSLATED:
        return ipaddress.IPv4Address(int(address) & _FOUR_BYTES)
    return address.ipv4_mapped or address.sixtofour
