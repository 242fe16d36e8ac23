"""Listening sockets: opened, inherited, refused."""

import os
import socket

import pytest

from lambdad.kit.http1 import Response
from lambdad.server import listener
from lambdad.server.listener import CannotListen


def close(sockets):
    for sock in sockets:
        sock.close()


def test_free_port():
    """Port 0 takes a free one and says which."""
    sockets = listener.open_sockets("127.0.0.1", 0)
    host, port = listener.address_of(sockets[0])
    assert host == "127.0.0.1" and port > 0
    with pytest.raises(CannotListen, match=f"127.0.0.1:{port}: Address already in use"):
        listener.open_sockets("127.0.0.1", port)
    close(sockets)


def test_all_addresses_of_a_name_share_a_port():
    """Localhost may be IPv4, IPv6 or both."""
    sockets = listener.open_sockets("localhost", 0)
    assert len({listener.address_of(sock)[1] for sock in sockets}) == 1
    close(sockets)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.1"])
def test_addresses_that_are_not_ours(host):
    """A name that nobody knows and an address of another machine cannot be listened on."""
    with pytest.raises(CannotListen, match="cannot listen on"):
        listener.open_sockets(host, 0)


def test_inherited_socket():
    """A listening socket from whoever started us is taken over; other descriptors are not."""
    [original] = listener.open_sockets("127.0.0.1", 0)
    inherited = listener.inherited_socket(os.dup(original.fileno()))
    assert listener.address_of(inherited) == listener.address_of(original)
    close([original, inherited])
    reading, writing = os.pipe()
    with pytest.raises(CannotListen, match="no socket"):
        listener.inherited_socket(reading)
    os.close(reading)
    os.close(writing)
    with socket.socket() as idle, pytest.raises(CannotListen, match="no listening"):
        listener.inherited_socket(idle.fileno())


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("0.0.0.0", False), ("::", False), ("no.such.invalid", False)],
)
def test_loopback(host, expected):
    """Open mode is for loopback addresses only, so we must know them."""
    assert listener.is_loopback(host) is expected


async def test_serving_closes_its_sockets():
    """After the block nothing listens."""

    async def handle(request):
        return Response(200, [], b"")

    sockets = listener.open_sockets("127.0.0.1", 0)
    async with listener.serving(handle, sockets) as server:
        assert server.statistics().connections == 0
    assert all(sock.fileno() == -1 for sock in sockets)
