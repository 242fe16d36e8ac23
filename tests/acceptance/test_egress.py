"""The way out: what functions reach with `--egress on`, what they never reach, and that nothing of it stays behind.

lambdad runs on a machine of the tests' own, with an internet of the tests' own: network namespaces, see `fake_internet`.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_internet  # type: ignore[import-not-found]
import pytest

from conftest import Functions, Lambdad, eventually  # type: ignore[import-not-found]

MISSING = fake_internet.missing()
pytestmark = [pytest.mark.sandbox, pytest.mark.privileged, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

TOOLS = """
import errno, json, os, socket, subprocess, sys, time, urllib.request

def fetch(host):
    try:
        with urllib.request.urlopen("http://%s/" % host, timeout=1.5) as answer:
            return answer.read().decode()
    except OSError as error:
        return type(getattr(error, "reason", error)).__name__

def echo(host, port=7777, source=None):
    asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asker.settimeout(1.0)
    try:
        if source:
            asker.bind((source, 0))
        asker.sendto(b"hello", (host, port))
        return asker.recv(100).decode()
    except OSError as error:
        return type(error).__name__

def attempt(work, *words):
    try:
        return str(work(*words))
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)

def own_address():
    asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asker.connect(("198.51.100.10", 9))
    return asker.getsockname()[0]
"""


@contextlib.contextmanager
def running(place: Path, *options: str, resolver: str = fake_internet.WEB) -> Iterator[tuple[fake_internet.Stage, Lambdad]]:
    """Run lambdad on a machine of its own; this thread is on that machine's network meanwhile."""
    with fake_internet.opened(place, resolver) as stage, stage.entered():
        lambdad = Lambdad(place / "data", options, prefix=stage.prefix)
        try:
            yield stage, lambdad.start()
        finally:
            if lambdad.process is not None and lambdad.process.poll() is None:
                assert lambdad.stop() == 0


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[fake_internet.Stage, Lambdad]]:
    with running(tmp_path_factory.mktemp("egress"), "--egress", "on") as both:
        yield both


@pytest.fixture
def stage(out: tuple[fake_internet.Stage, Lambdad]) -> fake_internet.Stage:
    return out[0]


@pytest.fixture
def deployed(out: tuple[fake_internet.Stage, Lambdad], request: pytest.FixtureRequest) -> Iterator[Functions]:
    functions = Functions(out[1], "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:40])
    yield functions
    functions.clean()


def run(functions: Functions, body: str, event: Any = None, **options: Any) -> Any:
    """Invoke a new function, the body of a handler after `TOOLS`; return its answer."""
    lines = "".join(f"    {line}\n" for line in body.strip("\n").splitlines())
    name = functions.deploy(f"{TOOLS}\ndef handler(event, context):\n{lines}", Timeout=30)
    answer = functions.invoke(name, event)
    assert "FunctionError" not in answer, answer["Payload"]
    return answer["Payload"]


def test_python_reaches_the_internet_by_name(deployed: Functions) -> None:
    """getaddrinfo finds a name, and TCP and UDP reach what it names, under the machine's own address."""
    found = run(
        deployed,
        """
return {
    "address": sorted({one[4][0] for one in socket.getaddrinfo("web.example.test", 80)}),
    "by name": fetch("web.example.test"), "by address": fetch("198.51.100.10"), "udp": echo("198.51.100.10"),
    "hosts": socket.gethostbyname("lambdad"),
}""",
    )
    assert found == {
        "address": [fake_internet.WEB],
        "by name": f"internet {fake_internet.MACHINE_LAN}",
        "by address": f"internet {fake_internet.MACHINE_LAN}",
        "udp": f"internet {fake_internet.MACHINE_LAN} hello",
        "hosts": "169.254.100.1",
    }


def test_lambdads_own_api_is_there_all_the_same(deployed: Functions) -> None:
    """The Runtime API and lambdad's own are where they are without a way out."""
    found = run(
        deployed,
        """
import boto3
return len(boto3.client("lambda").list_functions()["Functions"]) > 0""",
    )
    assert found is True


def test_names_with_long_answers_are_found(deployed: Functions) -> None:
    """An answer that does not fit into a datagram is asked for again by TCP."""
    assert run(deployed, "return len({one[4][0] for one in socket.getaddrinfo('long.example.test', 80)})") == 81


def test_a_name_that_does_not_exist_is_refused_at_once(deployed: Functions) -> None:
    """The resolver's own answer comes through."""
    found = run(
        deployed,
        """
begun = time.monotonic()
try:
    socket.getaddrinfo("nothing.example.test", 80)
except socket.gaierror as error:
    return [error.errno == socket.EAI_NONAME, time.monotonic() - begun < 3]""",
    )
    assert found == [True, True]


@pytest.mark.node
@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_node_reaches_the_internet_by_name(deployed: Functions) -> None:
    """dns.lookup, c-ares and fetch find a name."""
    source = """
const dns = require('dns').promises;
exports.handler = async () => ({
  lookup: (await dns.lookup('web.example.test')).address,
  resolve: await dns.resolve4('web.example.test'),
  text: await (await fetch('http://web.example.test/')).text(),
});
"""
    name = deployed.deploy({"index.js": source}, handler="index.handler", runtime="nodejs20.x", Timeout=20)
    assert deployed.invoke(name)["Payload"] == {
        "lookup": fake_internet.WEB,
        "resolve": [fake_internet.WEB],
        "text": f"internet {fake_internet.MACHINE_LAN}",
    }


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_programs_reach_the_internet_by_name(deployed: Functions) -> None:
    """A program of the system, which uses the C library's resolver, finds a name."""
    found = run(deployed, "return subprocess.run(['curl', '-sm5', 'http://web.example.test/'], capture_output=True, text=True).stdout")
    assert found == f"internet {fake_internet.MACHINE_LAN}"


def test_the_machine_is_never_reached(deployed: Functions, stage: fake_internet.Stage) -> None:
    """Neither its LAN address nor a bridge's nor its end of the way out answers, by TCP or UDP; its services do answer others."""
    assert stage.in_machine("curl", "-sm2", f"http://{fake_internet.MACHINE_BRIDGE}/").startswith("machine")
    end = re.findall(r"inet ([\d.]+)/32", stage.in_machine("ip", "-o", "addr"))[0]
    found = run(
        deployed,
        """
result = {}
for host in event:
    result[host] = [fetch(host), echo(host)]
return result""",
        ["127.0.0.1", fake_internet.MACHINE_LAN, fake_internet.MACHINE_BRIDGE, end],
    )
    assert not [host for host, answers in found.items() if any("machine" in one for one in answers)], found


def test_the_services_port_of_the_machine_is_not_reached(deployed: Functions, out: tuple[fake_internet.Stage, Lambdad]) -> None:
    """lambdad itself is reached at its endpoint only, and no port of the gateway but the resolver's is open."""
    port = int(out[1].url.rpartition(":")[2])
    found = run(
        deployed,
        """
gateway = open("/etc/resolv.conf").read().split()[1]
result = []
for host, port in [(gateway, event), (gateway, 80), (gateway, 22), ("203.0.113.2", event)]:
    result.append(attempt(lambda: socket.create_connection((host, port), 0.7)))
return result""",
        port,
    )
    assert all(one in ("ETIMEDOUT", "TimeoutError", "EHOSTUNREACH", "ECONNREFUSED") for one in found), found


def test_metadata_and_link_local_are_never_reached(deployed: Functions, stage: fake_internet.Stage) -> None:
    """The metadata services of clouds do not answer, nor anything else that is link-local; the machine itself reaches them."""
    assert stage.in_machine("curl", "-sm2", f"http://{fake_internet.METADATA}/").startswith("internet")
    found = run(deployed, "return [fetch(host) + echo(host) for host in ('169.254.169.254', '169.254.170.2', '169.254.1.1')]")
    assert not [one for one in found if "internet" in one], found


def test_private_networks_are_refused_and_said_to_be(deployed: Functions, stage: fake_internet.Stage) -> None:
    """A private network that the machine reaches is unreachable for functions, and they hear so at once."""
    assert stage.in_machine("curl", "-sm2", f"http://{fake_internet.PRIVATE}/").startswith("internet")
    found = run(deployed, "return attempt(lambda: socket.create_connection(('10.9.9.9', 80), 5))")
    assert found == "EHOSTUNREACH"


def test_broadcast_multicast_and_ipv6_lead_nowhere(deployed: Functions) -> None:
    """Broadcast is not permitted or lost, multicast is lost, and there is no IPv6 but loopback."""
    found = run(
        deployed,
        """
def broadcast(host):
    asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asker.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    asker.settimeout(0.5)
    asker.sendto(b"hello", (host, 7777))
    return asker.recv(100).decode()
return {
    "broadcast": [attempt(broadcast, host) for host in ("255.255.255.255", "203.0.113.255")],
    "multicast": echo("224.0.0.1"),
    "ipv6": attempt(lambda: socket.create_connection(("fd00:ec2::254", 80), 1)),
    "interfaces": sorted({line.split()[-1] for line in open("/proc/net/if_inet6")}),
}""",
    )
    assert all("machine" not in one and "internet" not in one for one in found["broadcast"])
    assert found["multicast"] in ("TimeoutError", "OSError", "timeout")
    assert found["ipv6"] in ("ENETUNREACH", "EADDRNOTAVAIL")
    assert found["interfaces"] == ["lo"]


def test_other_sources_and_raw_packets_are_refused(deployed: Functions) -> None:
    """A packet that bears another address of the environment's own does not get out; raw and packet sockets cannot be had."""
    found = run(
        deployed,
        """
def recorded():
    asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asker.settimeout(1.0)
    asker.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, bytes([7, 7, 4, 0, 0, 0, 0, 0]))
    asker.sendto(b"hello", ("198.51.100.10", 7777))
    return asker.recv(100).decode()
return {
    "with options": attempt(recorded),
    "spoofed": echo("198.51.100.10", source="169.254.100.1"),
    "right": echo("198.51.100.10", source=own_address()),
    "raw": attempt(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW),
    "icmp": attempt(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "packet": attempt(socket.socket, socket.AF_PACKET, socket.SOCK_RAW),
}""",
    )
    assert found["spoofed"] in ("TimeoutError", "timeout")
    assert "internet" not in found["with options"]
    assert found["right"].startswith("internet")
    assert found["raw"] == found["icmp"] == "EPERM"
    assert found["packet"] == "EAFNOSUPPORT"


def test_environments_do_not_reach_each_other(deployed: Functions) -> None:
    """A function that listens on its own address is not reached from another environment, and stays well."""
    source = f"""{TOOLS}
def handler(event, context):
    if event is None:
        server = socket.create_server(("0.0.0.0", 8000))
        server.settimeout(6)
        print("address", own_address(), flush=True)
        try:
            server.accept()
            return "reached"
        except TimeoutError:
            return own_address()
    return [own_address(), attempt(lambda: socket.create_connection((event, 8000), 1))]
"""
    import concurrent.futures

    name = deployed.deploy(source, Timeout=20)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        listening = pool.submit(deployed.invoke, name, None)
        line = next(one for one in deployed.log_lines(name, until="address") if one.startswith("address"))
        address = line.split()[1]
        other = deployed.invoke(name, address)["Payload"]
        assert listening.result()["Payload"] == address
    assert other[0] != address
    assert other[1] in ("TimeoutError", "ETIMEDOUT")


def test_one_environments_connections_are_limited(tmp_path: Path) -> None:
    """Beyond `egress_connections` an environment is refused; another one still gets out."""
    place = tmp_path
    with running(place, "--egress", "on", "--config", str(_config(place, egress_connections=20))) as (_, lambdad):
        functions = Functions(lambdad, "flood")
        body = """
held, refused = [], 0
for _ in range(60):
    try:
        held.append(socket.create_connection(("198.51.100.10", 80), 0.3))
    except OSError:
        refused += 1
        if refused > 3:
            break
return len(held)"""
        assert run(functions, body) <= 20
        assert run(functions, "return fetch('198.51.100.10')").startswith("internet")


def _config(place: Path, **values: Any) -> Path:
    path = place / "lambdad.toml"
    path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))
    return path


def test_networks_are_allowed_and_denied_as_set(tmp_path: Path) -> None:
    """`--egress-allow` opens a private network, but never the machine's own addresses; `--egress-deny` closes a public one."""
    options = ("--egress", "on", "--egress-allow", "10.9.0.0/16,172.17.0.0/16,203.0.113.0/24", "--egress-deny", "198.51.100.0/24")
    with running(tmp_path, *options) as (_, lambdad):
        functions = Functions(lambdad, "allowed")
        body = "return [fetch(host) for host in ('10.9.9.9', '198.51.100.10', '172.17.0.1', '203.0.113.2', '203.0.113.1')]"
        private, denied, bridge, lan, neighbour = run(functions, body)
    assert private.startswith("internet")
    assert neighbour.startswith("internet")
    assert not any("machine" in one or "internet" in one for one in (denied, bridge, lan))


def test_a_resolver_on_the_machines_loopback_is_asked(tmp_path: Path) -> None:
    """Where the machine has a resolver of its own on loopback, as systemd does, names are found through it."""
    with running(tmp_path, "--egress", "on", resolver="127.0.0.1") as (_, lambdad):
        assert run(Functions(lambdad, "names"), "return fetch('web.example.test')").startswith("internet")


def test_without_egress_nothing_is_there(tmp_path: Path) -> None:
    """By default there is no interface but loopback, no table on the machine, and a name is refused at once."""
    with running(tmp_path) as (stage, lambdad):
        assert stage.tables() == []
        assert stage.interfaces() == ["docker0", "lan0", "lo"]
        assert "egress on" not in lambdad.line
        found = run(
            Functions(lambdad, "closed"),
            """
begun = time.monotonic()
try:
    socket.getaddrinfo("web.example.test", 80)
    failed = ""
except socket.gaierror as error:
    failed = "gaierror"
names = [line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line]
return [failed, time.monotonic() - begun < 2, names, attempt(lambda: socket.create_connection(("198.51.100.10", 80), 1))]""",
        )
        assert found == ["gaierror", True, ["lo"], "ENETUNREACH"]


def test_a_regular_end_leaves_the_machine_as_it_was(tmp_path: Path) -> None:
    """After SIGTERM there is no interface and no table of ours, and forwarding is off again."""
    with running(tmp_path, "--egress", "on") as (stage, lambdad):
        assert any(name.startswith("lambdad") for name in stage.interfaces())
        assert stage.forwarding("lan0") == "1"
        assert stage.forwarding("docker0") == "0"
        assert lambdad.stop() == 0
        assert stage.tables() == []
        assert stage.interfaces() == ["docker0", "lan0", "lo"]
        assert stage.forwarding("lan0") == "0"


def test_a_machine_that_has_become_a_router_stays_one(tmp_path: Path) -> None:
    """Forwarding that somebody else has switched on meanwhile, as Docker does, is left on."""
    with running(tmp_path, "--egress", "on") as (stage, lambdad):
        stage.in_machine("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        assert lambdad.stop() == 0
        assert stage.forwarding("lan0") == "1"


@pytest.mark.parametrize("victim", ["worker", "all"])
def test_kill_9_leaves_nothing_after_the_next_start(tmp_path: Path, victim: str) -> None:
    """Interfaces and namespaces go with the worker; the table goes with the next start, which works as the first one did."""
    with running(tmp_path, "--egress", "on") as (stage, lambdad):
        functions = Functions(lambdad, "killed")
        body = "return [fetch('web.example.test'), os.readlink('/proc/self/ns/net')]"
        inside = _processes_in(run(functions, body)[1])
        assert inside
        dead = lambdad.pids()["worker"]
        assert lambdad.process is not None
        if victim == "worker":
            os.kill(dead, signal.SIGKILL)
            eventually(lambda: lambdad.pids().get("worker", dead) != dead, "another worker")
        else:
            lambdad.stop(signal.SIGKILL)
            eventually(lambda: f"lambdad{dead}" not in stage.interfaces(), "the dead worker's interface is gone")
            lambdad.start()
        eventually(lambda: lambdad.health().get("worker"), "the worker serves")
        assert run(Functions(lambdad, "alive"), body)[0].startswith("internet")
        assert len(stage.tables()) == 1
        eventually(lambda: len([name for name in stage.interfaces() if name.startswith("lambdad")]) == 1, "one interface of ours")
        eventually(lambda: not any(map(_is_alive, inside)), "everything that ran is gone")
        assert lambdad.stop() == 0
        assert stage.tables() == []
        assert stage.forwarding("lan0") == "0"


def test_a_start_without_egress_sweeps_too(tmp_path: Path) -> None:
    """What a killed lambdad has left is gone after the next start, even if that one has no way out."""
    with running(tmp_path, "--egress", "on") as (stage, lambdad):
        lambdad.stop(signal.SIGKILL)
        assert len(stage.tables()) == 1
        lambdad.options = ()
        lambdad.start()
        eventually(lambda: not stage.tables(), "the dead one's table is gone")
        assert stage.forwarding("lan0") == "0"


def _processes_in(namespace: str) -> list[str]:
    """Return the processes that are in a network namespace."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/ns/net"):
        with contextlib.suppress(OSError):
            if os.readlink(entry) == namespace:
                found.append(entry.parts[2])
    return found


def _doctor(stage: fake_internet.Stage) -> str:
    command = [*stage.prefix, sys.executable, "-m", "lambdad.cli.main", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "COLUMNS": "240"})
    return done.stdout


def test_doctor_says_what_there_is_and_what_is_missing(tmp_path: Path) -> None:
    """The table names uplinks, firewalls that drop what is forwarded, and a missing program; `up` refuses without the program."""
    with fake_internet.opened(tmp_path) as stage:
        said = _doctor(stage)
        assert re.search(r"egress +│ ok +│ off, as set; --egress on can be had", said)
        assert re.search(r"egress uplinks +│ ok +│ lan0 ", said)
        assert "egress firewall" not in said
        assert stage.tables() == []
        chain = "{ type filter hook forward priority 0; policy drop; }"
        stage.in_machine("nft", f"add table ip wall; add chain ip wall gate {chain}")
        assert re.search(r"egress firewall +│ missing +│ nftables ip wall gate ", _doctor(stage))
        stage.in_machine(
            "mount", "--bind", "/dev/null", str(Path(shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin") or "").resolve())
        )
        assert re.search(r"egress +│ missing +│ .*nft is not installed", _doctor(stage))
        command = [*stage.prefix, sys.executable, "-m", "lambdad.cli.main", "up", "--port", "0", "--data-dir", str(tmp_path / "data")]
        done = subprocess.run([*command, "--egress", "on"], capture_output=True, text=True, timeout=60)
        assert (done.returncode, "nft is not installed" in done.stderr) == (1, True)


def _is_alive(pid: str) -> bool:
    with contextlib.suppress(OSError):
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def test_it_is_refused_to_an_ordinary_user(tmp_path: Path) -> None:
    """Without root `--egress on` says at once that it cannot be had, and why."""
    command = [sys.executable, "-m", "lambdad.cli.main", "up", "--port", "0", "--data-dir", str(tmp_path / "data"), "--egress", "on"]
    ordinary = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    done = subprocess.run([*ordinary, *command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "--egress on cannot be had: it needs root" in done.stderr
