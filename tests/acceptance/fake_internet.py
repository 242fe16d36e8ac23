"""A machine and an internet for tests of the way out: two network namespaces of our own, nothing of this machine's network.

    machine: lo 127.0.0.1 | lan0 203.0.113.2 | docker0 172.17.0.1
    internet: net0 203.0.113.1 | 198.51.100.10 (web, names, echo) | 10.9.9.9 and 169.254.169.254 (which must not be reached)

Run as a program it is one of the servers: `fake_internet.py serve NAME ADDRESS...` answers HTTP on port 80 and echoes UDP on port 7777
of each address, saying what it is and who asked; `fake_internet.py names ADDRESS` is a name server.
"""

import contextlib
import http.server
import os
import select
import shutil
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

WEB = "198.51.100.10"
PRIVATE = "10.9.9.9"
METADATA = "169.254.169.254"
MACHINE_LAN = "203.0.113.2"
MACHINE_BRIDGE = "172.17.0.1"
INTERNET_LAN = "203.0.113.1"
NAME = "web.example.test"
LONG_NAME = "long.example.test"  # its answer comes by TCP only
ECHO_PORT = 7777


def missing() -> str:
    """Say why there can be no such thing here, "" if there can."""
    if os.geteuid() != 0:
        return "needs root: network namespaces, nftables"
    for program in ("ip", "nft", "nsenter", "unshare"):
        if shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin") is None:
            return f"needs the program {program}"
    if subprocess.run(
        ["unshare", "--net", "ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth1"], capture_output=True
    ).returncode:
        return "needs veth interfaces"
    if subprocess.run(["unshare", "--net", "nft", "add", "table", "inet", "x"], capture_output=True).returncode:
        return "needs nftables in the kernel"
    return ""


@dataclass
class Stage:
    """The two namespaces, each held by a process."""

    machine_pid: int
    internet_pid: int

    def in_machine(self, *command: str) -> str:
        """Run a program in the machine's namespaces; returns what it prints."""
        return _run("nsenter", "-t", str(self.machine_pid), "-n", "-m", *command)

    @property
    def prefix(self) -> tuple[str, ...]:
        """Return what goes before a command that is to run on the machine."""
        return ("nsenter", "-t", str(self.machine_pid), "-n", "-m")

    def interfaces(self) -> list[str]:
        return sorted(line.split(":")[1].strip().partition("@")[0] for line in self.in_machine("ip", "-o", "link").splitlines())

    def tables(self) -> list[str]:
        return [line.split()[2] for line in self.in_machine("nft", "list", "tables").splitlines()]

    def forwarding(self, interface: str) -> str:
        return self.in_machine("cat", f"/proc/sys/net/ipv4/conf/{interface}/forwarding").strip()

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Have this thread, and what it starts, on the machine's network for a while."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/proc/{self.machine_pid}/ns/net", os.O_RDONLY)
        from lambdad.sandbox.inside import kernel

        try:
            kernel.setns(there, kernel.CLONE_NEWNET)
            yield
        finally:
            kernel.setns(home, kernel.CLONE_NEWNET)
            os.close(home)
            os.close(there)


@contextlib.contextmanager
def opened(place: Path, resolver: str = WEB) -> Iterator[Stage]:
    """Set the stage; `resolver` is what the machine's resolv.conf names."""
    with contextlib.ExitStack() as stack:
        machine = stack.enter_context(_held("--net", "--mount", "--propagation", "private"))
        internet = stack.enter_context(_held("--net"))
        stage = Stage(machine, internet)
        (place / "resolv.conf").write_text(f"nameserver {resolver}\n")
        stage.in_machine("mount", "--bind", str(place / "resolv.conf"), "/etc/resolv.conf")
        for line in (
            "link set lo up",
            f"link add lan0 type veth peer name net0 netns {internet}",
            f"addr add {MACHINE_LAN}/24 dev lan0",
            "link set lan0 up",
            "link add docker0 type bridge",
            f"addr add {MACHINE_BRIDGE}/16 dev docker0",
            "link set docker0 up",
            f"route add default via {INTERNET_LAN}",
            f"route add {METADATA} via {INTERNET_LAN}",
        ):
            stage.in_machine("ip", *line.split())
        for line in (
            "link set lo up",
            f"addr add {INTERNET_LAN}/24 dev net0",
            "link set net0 up",
            f"addr add {WEB}/32 dev lo",
            f"addr add {PRIVATE}/32 dev lo",
            f"addr add {METADATA}/32 dev lo",
        ):
            _run("nsenter", "-t", str(internet), "-n", "ip", *line.split())
        for pid, *words in (
            (internet, "serve", "internet", WEB, PRIVATE, METADATA, INTERNET_LAN),
            (internet, "names", WEB),
            (machine, "serve", "machine", "127.0.0.1", MACHINE_LAN, MACHINE_BRIDGE),
            (machine, "names", "127.0.0.1"),
        ):
            stack.enter_context(_server(pid, *map(str, words)))
        yield stage


@contextlib.contextmanager
def _held(*flags: str) -> Iterator[int]:
    """Hold namespaces by a process that ends with this one."""
    process = subprocess.Popen(["unshare", *flags, "sh", "-c", "echo there; exec sleep 600"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        process.stdout.readline()
        yield process.pid
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def _server(pid: int, *words: str) -> Iterator[None]:
    command = ["nsenter", "-t", str(pid), "-n", sys.executable, __file__, *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


# -- the servers


def _serve(name: str, addresses: list[str]) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = f"{name} {self.client_address[0]}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            return None

    class Server(socketserver.ThreadingTCPServer):  # not http.server's own, which looks its name up
        allow_reuse_address = daemon_threads = True

    echoes = []
    for address in addresses:
        server = Server((address, 80), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        echo.bind((address, ECHO_PORT))
        echoes.append(echo)
    print("ready", flush=True)
    while True:
        for ready in select.select(echoes, [], [])[0]:
            data, sender = ready.recvfrom(2048)
            with contextlib.suppress(OSError):
                ready.sendto(f"{name} {sender[0]} ".encode() + data, sender)


def _answer(question: bytes, *, by_tcp: bool) -> bytes:
    """Answer one question for an address; only the two names are known. Source: RFC 1035, 4.1."""
    labels, at = [], 12
    while question[at]:
        labels.append(question[at + 1 : at + 1 + question[at]].decode())
        at += 1 + question[at]
    kind = struct.unpack_from(">H", question, at + 1)[0]
    asked = question[12 : at + 5]
    name = ".".join(labels).lower()
    records, code, cut = b"", 0, 0
    count = 0
    if name not in (NAME, LONG_NAME):
        code = 3
    elif kind == 1 and name == LONG_NAME and not by_tcp:
        cut = 0x0200
    elif kind == 1:
        addresses = [WEB] if name == NAME else [WEB, *[f"198.51.100.{number}" for number in range(100, 180)]]
        count = len(addresses)
        records = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton(one) for one in addresses)
    return question[:2] + struct.pack(">HHHHH", 0x8180 | cut | code, 1, count, 0, 0) + asked + records


def _names(address: str) -> None:
    class Stream(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while len(prefix := self.request.recv(2, socket.MSG_WAITALL)) == 2:
                answer = _answer(self.request.recv(struct.unpack(">H", prefix)[0], socket.MSG_WAITALL), by_tcp=True)
                self.request.sendall(struct.pack(">H", len(answer)) + answer)

    socketserver.ThreadingTCPServer.allow_reuse_address = True
    stream = socketserver.ThreadingTCPServer((address, 53), Stream)
    threading.Thread(target=stream.serve_forever, daemon=True).start()
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind((address, 53))
    print("ready", flush=True)
    while True:
        question, sender = datagrams.recvfrom(4096)
        with contextlib.suppress(IndexError, struct.error):
            datagrams.sendto(_answer(question, by_tcp=False), sender)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.argv[1] == "serve":
        _serve(sys.argv[2], sys.argv[3:])
    else:
        _names(sys.argv[2])
