"""Network interfaces, addresses and routes by rtnetlink: the few messages that environments need, packed ahead of time.

A message is bytes, so that the one environment's dozen costs microseconds to make and one system call to send. Source: rtnetlink(7),
Linux include/uapi/linux/rtnetlink.h, if_link.h, neighbour.h.
"""

from __future__ import annotations

import os
import socket
import struct

IFF_UP, IFF_NOARP = 0x1, 0x80
SCOPE_UNIVERSE, SCOPE_LINK = 0, 253

_ACK_WITHIN_S = 10  # the kernel answers at once, or waits for others who change interfaces
_LARGEST_ANSWER_BYTES = 65536
_NLMSG_ERROR = 2
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_EXCL, _NLM_F_CREATE = 0x1, 0x4, 0x200, 0x400
_CREATE = _NLM_F_REQUEST | _NLM_F_ACK | _NLM_F_CREATE | _NLM_F_EXCL
_RTM_NEWLINK, _RTM_DELLINK, _RTM_NEWADDR, _RTM_NEWROUTE, _RTM_NEWNEIGH = 16, 17, 20, 24, 28
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_NET_NS_FD, _IFLA_IFALIAS, _IFLA_TXQLEN = 1, 3, 4, 18, 28, 20, 13
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC = 1, 4, 5, 7
_NDA_DST, _NDA_LLADDR, _NUD_PERMANENT = 1, 2, 0x80
_TABLE_MAIN, _PROTOCOL_BOOT, _TYPE_UNICAST = 254, 3, 1
_NESTED = 0x8000

_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")


class NetlinkFailed(OSError):
    """The kernel refused one message; ``step`` says which."""

    def __init__(self, step: str, errno: int) -> None:
        super().__init__(errno, f"{step}: {os.strerror(errno)}")
        self.step = step


class Message:
    """One request; ``step`` names it where it fails."""

    __slots__ = ("body", "flags", "kind", "step")

    def __init__(self, step: str, kind: int, body: bytes, flags: int = _CREATE) -> None:
        self.step = step
        self.kind = kind
        self.body = body
        self.flags = flags


class End:
    """One end of a veth pair as it is to be made: name, hardware address, the namespace if it is another, and the number.

    The kernel heeds the far end's number only if the near end has one. Source: Linux drivers/net/veth.c.
    """

    __slots__ = ("alias", "hardware", "index", "name", "namespace_fd")

    def __init__(self, name: str, *, index: int = 0, hardware: bytes, namespace_fd: int | None = None, alias: str = "") -> None:
        self.name = name
        self.index = index
        self.hardware = hardware
        self.namespace_fd = namespace_fd
        self.alias = alias

    def attributes(self, mtu: int) -> bytes:
        packed = _attribute(_IFLA_IFNAME, self.name.encode() + b"\0") + _attribute(_IFLA_ADDRESS, self.hardware)
        packed += _attribute(_IFLA_MTU, struct.pack("=I", mtu))
        if self.namespace_fd is not None:
            packed += _attribute(_IFLA_NET_NS_FD, struct.pack("=I", self.namespace_fd))
        if self.alias:
            packed += _attribute(_IFLA_IFALIAS, self.alias.encode())
        return packed


def veth(near: End, far: End, *, mtu: int) -> Message:
    """Make a pair without ARP, so that each end is to be told of the other by `neighbour`. The far end is not up yet: see `link_up`."""
    peer = _link_header(far.index, up=False) + far.attributes(mtu)
    data = _attribute(_IFLA_INFO_DATA | _NESTED, _attribute(_VETH_INFO_PEER | _NESTED, peer))
    info = _attribute(_IFLA_LINKINFO | _NESTED, _attribute(_IFLA_INFO_KIND, b"veth\0") + data)
    return Message(f"add veth {near.name}", _RTM_NEWLINK, _link_header(near.index, up=True) + near.attributes(mtu) + info)


def link_up(index: int) -> Message:
    """Bring an interface up."""
    body = _LINK.pack(socket.AF_UNSPEC, 0, index, IFF_UP, IFF_UP)
    return Message("bring an interface up", _RTM_NEWLINK, body, _NLM_F_REQUEST | _NLM_F_ACK)


def delete_link(name: str) -> Message:
    """Delete an interface, with its other end if it has one."""
    body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + _attribute(_IFLA_IFNAME, name.encode() + b"\0")
    return Message(f"delete {name}", _RTM_DELLINK, body, _NLM_F_REQUEST | _NLM_F_ACK)


def address(index: int, ipv4: bytes, prefix: int = 32) -> Message:
    """Give an interface an IPv4 address."""
    body = _ADDRESS.pack(socket.AF_INET, prefix, 0, SCOPE_UNIVERSE, index)
    return Message("add an address", _RTM_NEWADDR, body + _attribute(_IFA_LOCAL, ipv4) + _attribute(_IFA_ADDRESS, ipv4))


def route(index: int, destination: bytes, prefix: int, *, via: bytes | None = None, source: bytes | None = None) -> Message:
    """Route an IPv4 network over an interface, directly or via a router."""
    scope = SCOPE_LINK if via is None else SCOPE_UNIVERSE
    body = _ROUTE.pack(socket.AF_INET, prefix, 0, 0, _TABLE_MAIN, _PROTOCOL_BOOT, scope, _TYPE_UNICAST, 0)
    if prefix:
        body += _attribute(_RTA_DST, destination)
    body += _attribute(_RTA_OIF, struct.pack("=I", index))
    if via is not None:
        body += _attribute(_RTA_GATEWAY, via)
    if source is not None:
        body += _attribute(_RTA_PREFSRC, source)
    return Message("add a route", _RTM_NEWROUTE, body)


def neighbour(index: int, ipv4: bytes, hardware: bytes) -> Message:
    """Say for good who has an address. Such entries do not count against the limit that the whole machine shares."""
    body = _NEIGHBOUR.pack(socket.AF_INET, index, _NUD_PERMANENT, 0, 0)
    return Message("add a neighbour", _RTM_NEWNEIGH, body + _attribute(_NDA_DST, ipv4) + _attribute(_NDA_LLADDR, hardware))


def open_socket() -> socket.socket:
    """Open an rtnetlink socket for the network namespace that this thread is in now, wherever it goes later."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    opened.settimeout(_ACK_WITHIN_S)
    return opened


def send(opened: socket.socket, *messages: Message) -> None:
    """
    Send messages and wait until the kernel has carried out all of them, in their order.

    Raises:
        NetlinkFailed: one was refused; the kernel has tried those after it, too.
    """
    packed = []
    for number, message in enumerate(messages, 1):
        packed.append(_HEADER.pack(_HEADER.size + len(message.body), message.kind, message.flags, number, 0) + message.body)
    opened.send(b"".join(packed))
    failure: NetlinkFailed | None = None
    outstanding = len(messages)
    while outstanding:
        answer = opened.recv(_LARGEST_ANSWER_BYTES)
        while len(answer) >= _HEADER.size:
            length, kind, _flags, number, _port = _HEADER.unpack_from(answer)
            if kind == _NLMSG_ERROR:
                outstanding -= 1
                (status,) = struct.unpack_from("=i", answer, _HEADER.size)
                if status and failure is None:
                    failure = NetlinkFailed(messages[number - 1].step, -status)
            answer = answer[max(length + 3 & ~3, _HEADER.size) :]
    if failure is not None:
        raise failure


def _link_header(index: int, *, up: bool) -> bytes:
    flags = (IFF_UP if up else 0) | IFF_NOARP
    return _LINK.pack(socket.AF_UNSPEC, 0, index, flags, IFF_UP | IFF_NOARP)


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)
