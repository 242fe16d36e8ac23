"""`python -m bench.soak --minutes 60`: everything that comes and goes, for a long time, and whether anything stays behind.

Functions are made, updated, invoked in both ways, fail, time out, run out of memory, crash, are killed from outside and deleted. From
time to time all is let come to rest, and a row of the table is written: what there is of processes, mounts, cgroups, network namespaces,
descriptors, memory (proportional set size), files and threads. After the warm-up each column must stay where it is, within what
`TOLERANCES` allows.
"""

import argparse
import contextlib
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

ROLE = "arn:aws:iam::000000000000:role/soak"
RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
KEEP_ALIVE_S = 2.0
FUNCTIONS = 8
WARM_UP_ROWS = 3  # caches fill, the database's files and allocators' arenas grow to their size

SOURCE = """
import os, signal, subprocess, sys, threading, time
def handler(event, context):
    what = event['what']
    if what == 'sleep':
        time.sleep(60)
    if what == 'memory':
        eaten = []
        while True:
            eaten.append(bytes(1 << 20))
    if what == 'exit':
        os._exit(3)
    if what == 'crash':
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == 'raise':
        raise ValueError('soak')
    if what == 'daemon':
        subprocess.Popen(['/bin/sleep', '300'], start_new_session=True)
        threading.Thread(target=time.sleep, args=(300,), daemon=True).start()
    if what == 'files':
        with open(f'/tmp/{time.time()}', 'wb') as file:
            file.write(os.urandom(1 << 20))
    if what == 'log':
        print('x' * 999 + '\\\\n', end='' * 50)
    return what
"""
KINDS = ("well", "well", "well", "well", "files", "log", "daemon", "raise", "exit", "crash", "memory", "sleep")


@dataclass(frozen=True, slots=True)
class Row:
    """What there is at one moment, lambdad being idle."""

    minutes: float
    invokes: int
    failed: int
    processes: int
    threads: int
    mounts: int  # of the worker and its templates, the machine's own among them
    cgroups: int
    networks: int  # network namespaces that a process of lambdad's is in
    worker_fds: int
    server_fds: int
    other_fds: int
    worker_mib: float
    server_mib: float
    templates_mib: float
    files: int  # in the data directory, but for the store of zips and unpacked code, which grows by what is deployed
    temporary: int  # in the machine's /tmp, of this worker's making


# How much a column may exceed what it was after the warm-up: (absolute, share of it). Code that was deployed stays known for a while.
TOLERANCES: dict[str, tuple[float, float]] = {
    "processes": (2, 0.0),
    "threads": (4, 0.0),
    "mounts": (0, 0.0),
    "cgroups": (12, 0.0),  # those of stem cells that are kept for use
    "networks": (2, 0.0),
    "worker_fds": (16, 0.0),
    "server_fds": (16, 0.0),
    "other_fds": (8, 0.0),
    "worker_mib": (6.0, 0.10),
    "server_mib": (12.0, 0.15),
    "templates_mib": (4.0, 0.05),
    "files": (4, 0.0),
    "temporary": (0, 0.0),
}


class House:
    """A `lambdad up` of the soak's own."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        environment = {**os.environ, "LAMBDAD_KEEP_ALIVE_S": str(KEEP_ALIVE_S), "LAMBDAD_FREEZE_AFTER_S": "0.3"}
        command = [sys.executable, "-m", "lambdad.cli.main", "up", "--port", "0", "--data-dir", str(data_dir)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if " ready on " not in line:
            raise RuntimeError(f"lambdad did not start: {line!r}")
        self.url = line.partition(" on ")[2].partition(" ")[0].strip()

    def client(self, service: str = "lambda") -> Any:
        config = Config(retries={"max_attempts": 0}, read_timeout=60, max_pool_connections=16)
        return boto3.client(
            service,
            endpoint_url=self.url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            region_name="us-east-1",
            config=config,
        )

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


def zipped(source: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("app.py", source)
    return out.getvalue()


class Churn:
    """The work: each call of `turn` does one thing to one of this thread's functions."""

    def __init__(self, house: House, number: int, seed: int) -> None:
        self._client = house.client()
        self._house = house
        self._random = random.Random(seed)
        self._number = number
        self._made = 0
        self._names: list[str] = []
        self.invokes = self.failed = 0
        self.surprises: list[str] = []

    def turn(self) -> None:
        """Do one thing. What AWS's API may answer while others do other things is no surprise; anything else is."""
        draw = self._random.random()
        try:
            if len(self._names) < 2 or (draw < 0.06 and len(self._names) < FUNCTIONS):
                self._create()
            elif draw < 0.10:
                self._client.delete_function(FunctionName=self._names.pop(self._random.randrange(len(self._names))))
            elif draw < 0.16:
                self._update(self._random.choice(self._names))
            elif draw < 0.17:
                self._kill()
            elif draw < 0.30:
                self._invoke(self._random.choice(self._names), "well", "Event")
            else:
                self._invoke(self._random.choice(self._names), self._random.choice(KINDS), "RequestResponse")
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code not in ("ResourceConflictException", "TooManyRequestsException", "ServiceException", "ResourceNotFoundException"):
                self.surprises.append(f"{code}: {error}")
        except BotoCoreError as error:
            self.surprises.append(repr(error))

    def _settle(self, name: str) -> None:
        for _ in range(500):
            config = self._client.get_function_configuration(FunctionName=name)
            if config["State"] != "Pending" and config.get("LastUpdateStatus") != "InProgress":
                return
            time.sleep(0.01)
        self.surprises.append(f"{name} stays {config['State']}")

    def _create(self) -> None:
        self._made += 1
        name = f"soak-{self._number}-{self._made}"
        self._client.create_function(
            FunctionName=name,
            Runtime=RUNTIME,
            Role=ROLE,
            Handler="app.handler",
            Timeout=1,
            MemorySize=128,
            Code={"ZipFile": zipped(f"{SOURCE}\n# {self._random.randrange(6)}\n")},
        )
        self._names.append(name)
        self._settle(name)

    def _update(self, name: str) -> None:
        if self._random.random() < 0.5:
            self._client.update_function_code(FunctionName=name, ZipFile=zipped(f"{SOURCE}\n# {self._random.randrange(6)}\n"))
        else:
            self._client.update_function_configuration(FunctionName=name, MemorySize=self._random.choice((128, 192, 256)))
        self._settle(name)

    def _invoke(self, name: str, what: str, kind: str) -> None:
        answer = self._client.invoke(FunctionName=name, InvocationType=kind, Payload=json.dumps({"what": what}))
        answer["Payload"].read()
        self.invokes += 1
        self.failed += "FunctionError" in answer
        if kind == "RequestResponse" and ("FunctionError" in answer) != (what in ("raise", "exit", "crash", "memory", "sleep")):
            self.surprises.append(f"{what}: {answer.get('FunctionError', 'no error')}")

    def _kill(self) -> None:
        """Kill a process of a function's from outside, as the machine's own OOM killer would."""
        runtimes = [pid for pid, uid in users(self._house.process.pid).items() if uid >= 1_900_000_000]
        if runtimes:
            with contextlib.suppress(OSError):
                os.kill(self._random.choice(runtimes), signal.SIGKILL)

    def leave(self) -> None:
        for name in self._names:
            with contextlib.suppress(ClientError):
                self._client.delete_function(FunctionName=name)
        self._names.clear()


def users(pid: int) -> dict[int, int]:
    """Return the processes below one, and their users."""
    return {one: int(_status(one, "Uid").split()[0] or 0) for one in below(pid)}


def _status(pid: int, name: str) -> str:
    with contextlib.suppress(OSError):
        found = re.search(rf"^{name}:\s*(.*)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        if found:
            return found[1]
    return "0"


def below(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    found, pending = [], [pid]
    while pending:
        one = pending.pop()
        found.append(one)
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                pending += [int(word) for word in (task / "children").read_text().split()]
    return found


def _entries(path: str) -> int:
    with contextlib.suppress(OSError):
        return sum(1 for _ in Path(path).iterdir())
    return 0


def _lines(path: str) -> int:
    with contextlib.suppress(OSError):
        return len(Path(path).read_text().splitlines())
    return 0


def _pss_mib(pid: int) -> float:
    with contextlib.suppress(OSError):
        found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        if found:
            return int(found[1]) / 1024
    return 0.0


def _words(pid: int) -> list[bytes]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return []


def _cgroups(instance_pid: int) -> int:
    count = 0
    for root, directories, _ in os.walk("/sys/fs/cgroup"):
        if f"lambdad-{instance_pid}-" in root:
            count += 1 + len(directories)
            directories.clear()
    return count


def measure(house: House, minutes: float, invokes: int, failed: int) -> Row:
    """Count everything there is now."""
    pids = below(house.process.pid)
    roles = {word: pid for pid in pids for word in (b"server", b"worker") if b"lambdad.app" in (words := _words(pid)) and word in words}
    worker, server = roles[b"worker"], roles[b"server"]
    parents = {pid: int(_status(pid, "PPid")) for pid in pids}
    templates = [pid for pid in pids if parents[pid] == worker]
    networks = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            networks.add(str(Path(f"/proc/{pid}/ns/net").readlink()))
    stores = (house.data_dir / "code", house.data_dir / "server" / "blobs")
    files = sum(1 for path in house.data_dir.rglob("*") if path.is_file() and not any(store in path.parents for store in stores))
    return Row(
        minutes=round(minutes, 1),
        invokes=invokes,
        failed=failed,
        processes=len(pids),
        threads=sum(_entries(f"/proc/{pid}/task") for pid in pids),
        mounts=sum(_lines(f"/proc/{pid}/mountinfo") for pid in (worker, *templates)),
        cgroups=_cgroups(worker),
        networks=len(networks),
        worker_fds=_entries(f"/proc/{worker}/fd"),
        server_fds=_entries(f"/proc/{server}/fd"),
        other_fds=sum(_entries(f"/proc/{pid}/fd") for pid in pids if pid not in (worker, server)),
        worker_mib=round(_pss_mib(worker), 1),
        server_mib=round(_pss_mib(server), 1),
        templates_mib=round(sum(_pss_mib(pid) for pid in templates), 1),
        files=files,
        temporary=sum(
            1 for path in Path(tempfile.gettempdir()).iterdir() if path.name.startswith("lambdad-") and f"-{worker}-" in path.name
        ),
    )


def growth(rows: list[Row], warm_up: int = WARM_UP_ROWS) -> dict[str, tuple[float, float]]:
    """
    Return the columns that have grown, as (what it was after the warm-up, what it is).

    A column has grown if the least of its last three rows is above the most of the first three after the warm-up by more than its
    tolerance: one row may be taken while something is just going.
    """
    first, last = rows[warm_up : warm_up + 3], rows[-3:]
    grown = {}
    for name, (absolute, share) in TOLERANCES.items():
        was = max(getattr(row, name) for row in first)
        now = min(getattr(row, name) for row in last)
        if now > was + max(absolute, share * was):
            grown[name] = (was, now)
    return grown


def at_rest(house: House) -> None:
    """Wait until no environment of a function is left and what was acknowledged has run; stem cells stay."""
    end_s = time.monotonic() + 30
    steady, seen = 0, -1
    time.sleep(KEEP_ALIVE_S + 1)
    while steady < 8 and time.monotonic() < end_s:
        count = len(below(house.process.pid))
        steady, seen = (steady + 1, count) if count == seen else (0, count)
        time.sleep(0.25)


@contextlib.contextmanager
def house(place: Path) -> Iterator[House]:
    opened = House(place)
    try:
        yield opened
    finally:
        status = opened.stop()
    if status != 0:
        raise RuntimeError(f"lambdad ended with {status}")


def soak(
    minutes: float, *, row_every_s: float = 60.0, threads: int = 2, seed: int = 1, write: Callable[[str], object] = print
) -> list[Row]:
    """Churn for so many minutes; write a row now and then, and return all rows. Raises RuntimeError for what must not happen."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="soak-") as place, house(Path(place) / "data") as running:
        churns = [Churn(running, number, seed + number) for number in range(threads)]
        began_s = time.monotonic()
        until_s = began_s + minutes * 60
        write("  ".join(f"{field.name:>{width(field.name)}}" for field in fields(Row)))
        while time.monotonic() < until_s or len(rows) < WARM_UP_ROWS + 4:
            pause_s = time.monotonic() + row_every_s

            def work(churn: Churn, until_s: float = pause_s) -> None:
                while time.monotonic() < until_s:
                    churn.turn()

            workers = [threading.Thread(target=work, args=(churn,)) for churn in churns]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            for churn in churns:
                churn.leave()
            at_rest(running)
            row = measure(running, (time.monotonic() - began_s) / 60, sum(one.invokes for one in churns), sum(one.failed for one in churns))
            rows.append(row)
            write("  ".join(f"{value!s:>{width(name)}}" for name, value in asdict(row).items()))
            surprises = [text for churn in churns for text in churn.surprises]
            if len(surprises) > 5 + row.invokes // 200:
                raise RuntimeError("\n".join(surprises[:20]))
    return rows


def width(name: str) -> int:
    return max(len(name), 6)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--row-every", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    table = soak(options.minutes, row_every_s=options.row_every, threads=options.threads, seed=options.seed)
    leaks = growth(table)
    for column, (was, now) in leaks.items():
        print(f"{column} has grown from {was} to {now}")
    sys.exit(1 if leaks else 0)
