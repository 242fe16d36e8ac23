"""
Measure how many messages SQS takes in and gives out, and what each costs.

    .venv/bin/python -m bench.sqs [--for S] [--clients N] [--in-process] [--fifo]

Over HTTP with the signature check on: each client sends a batch of ten, receives ten and deletes them, again and again. Prints messages a
second through all three operations, and the server's processor time for each message. With --in-process the same without HTTP, as
the poller of an event source mapping does it.
"""

import argparse
import asyncio
import datetime
import hashlib
import hmac
import json
import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import uvloop

from bench import client
from bench.invoke import serving
from lambdad.kit import clock
from lambdad.model.ids import AccountId, Region, RequestId
from lambdad.services.ports import CallContext
from lambdad.services.sqs.app import SqsService, migrations
from lambdad.store.database import open_database, sqlite_url

BODY_BYTES = 200
FOR_S = 5.0
CLIENTS = 8
REGION = "us-east-1"
CONTEXT = CallContext(
    account=AccountId("000000000000"),
    region=Region(REGION),
    request_id=RequestId("00000000-0000-0000-0000-000000000000"),
    principal_arn="arn:aws:iam::000000000000:root",
    endpoint="http://127.0.0.1",
)


class Signer:
    """Sign requests of the JSON protocol for as little as can be: the client shares the machine with the server."""

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc
        self._stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
        self._scope = f"{self._stamp[:8]}/{REGION}/sqs/aws4_request"
        key = f"AWS4{client.SECRET}".encode()
        for part in self._scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        self._key = key

    def request(self, operation: str, body: bytes) -> bytes:
        """Return the bytes of a signed request; AWS allows it to be sent for five minutes."""
        target, names = f"AmazonSQS.{operation}", "host;x-amz-date;x-amz-target"
        headers = f"host:{self._host}\nx-amz-date:{self._stamp}\nx-amz-target:{target}\n"
        canonical = f"POST\n/\n\n{headers}\n{names}\n{hashlib.sha256(body).hexdigest()}"
        to_sign = f"AWS4-HMAC-SHA256\n{self._stamp}\n{self._scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._key, to_sign.encode(), "sha256").hex()
        return (
            f"POST / HTTP/1.1\r\nHost: {self._host}\r\nX-Amz-Date: {self._stamp}\r\nX-Amz-Target: {target}\r\n"
            "Content-Type: application/x-amz-json-1.0\r\n"
            f"Authorization: AWS4-HMAC-SHA256 Credential={client.ACCESS_KEY}/{self._scope}, "
            f"SignedHeaders={names}, Signature={signature}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body


def batch(*, is_fifo: bool, start: int) -> list[dict[str, Any]]:
    """Return the entries of a batch."""
    entries: list[dict[str, Any]] = [{"Id": str(number), "MessageBody": "x" * BODY_BYTES} for number in range(10)]
    if is_fifo:
        for number, entry in enumerate(entries):
            entry |= {"MessageGroupId": f"g{start}", "MessageDeduplicationId": f"{start}-{time.monotonic_ns()}-{number}"}
    return entries


def hammer(url: str, queue_url: str, number: int, for_s: float, is_fifo: bool, counts: Any) -> None:
    """Send, receive and delete for a while; the job of a process."""
    counts.put(uvloop.run(_hammer(url, queue_url, number, for_s, is_fifo)))


async def _hammer(url: str, queue_url: str, connections: int, for_s: float, is_fifo: bool) -> int:
    until_s = time.perf_counter() + for_s
    return sum(await asyncio.gather(*[_cycle(url, queue_url, number, until_s, is_fifo) for number in range(connections)]))


async def _cycle(url: str, queue_url: str, number: int, until_s: float, is_fifo: bool) -> int:
    reader, writer = await asyncio.open_connection(*client.address(url))
    signer = Signer(url)

    async def call(request: bytes) -> Any:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        return orjson.loads(await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])) or b"{}")

    send = signer.request("SendMessageBatch", orjson.dumps({"QueueUrl": queue_url, "Entries": batch(is_fifo=False, start=number)}))
    receive = signer.request("ReceiveMessage", orjson.dumps({"QueueUrl": queue_url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1}))
    done = 0
    while time.perf_counter() < until_s:
        if is_fifo:
            entries = batch(is_fifo=True, start=number)
            send = signer.request("SendMessageBatch", orjson.dumps({"QueueUrl": queue_url, "Entries": entries}))
        await call(send)
        found = (await call(receive)).get("Messages", [])
        if found:
            entries = [{"Id": str(at), "ReceiptHandle": message["ReceiptHandle"]} for at, message in enumerate(found)]
            await call(signer.request("DeleteMessageBatch", orjson.dumps({"QueueUrl": queue_url, "Entries": entries})))
            done += len(found)
    writer.close()
    return done


def over_http(for_s: float, clients: int, *, is_fifo: bool) -> None:
    """Measure with a server of its own."""
    with serving() as (url, _, pid):
        server = _child(pid, "server")
        signer, connection = Signer(url), client.Connection(url)
        attributes = {"FifoQueue": "true"} if is_fifo else {}
        create = orjson.dumps({"QueueName": "bench.fifo" if is_fifo else "bench", "Attributes": attributes})
        queue_url = json.loads(connection.call(signer.request("CreateQueue", create)).body)["QueueUrl"]
        connection.close()
        counts: Any = multiprocessing.Queue()
        before_s, start_s = _processor_s(server), time.perf_counter()
        process = multiprocessing.Process(target=hammer, args=(url, queue_url, clients, for_s, is_fifo, counts))
        process.start()
        done = counts.get()
        took_s, used_s = time.perf_counter() - start_s, _processor_s(server) - before_s
        process.join()
        kind = "FIFO" if is_fifo else "standard"
        print(
            f"{kind}, {clients} clients over HTTP: {done / took_s:,.0f} messages/s, {used_s / done * 1e6:.0f} us of the server's for each"
        )


async def in_process(for_s: float, clients: int, *, is_fifo: bool) -> None:
    """Measure the handlers alone."""
    with tempfile.TemporaryDirectory(prefix="lambdad-bench-") as folder:
        url = sqlite_url(Path(folder) / "bench.db")
        async with open_database(url, migrations=[migrations()], now_ms=clock.now_ms) as database, asyncio.TaskGroup() as tasks:
            sqs = SqsService(database, clock.now_ms)
            await sqs.open()
            running = tasks.create_task(sqs.run())
            handlers = sqs.service().handlers
            attributes = {"FifoQueue": "true"} if is_fifo else {}
            name = {"QueueName": "bench.fifo" if is_fifo else "bench", "Attributes": attributes}
            queue = await handlers["CreateQueue"](CONTEXT, name)

            async def cycle(number: int) -> int:
                done = 0
                while time.perf_counter() < until_s:
                    await handlers["SendMessageBatch"](CONTEXT, {**queue, "Entries": batch(is_fifo=is_fifo, start=number)})
                    found = await handlers["ReceiveMessage"](CONTEXT, {**queue, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1})
                    messages = found.get("Messages", [])
                    entries = [{"Id": str(at), "ReceiptHandle": message["ReceiptHandle"]} for at, message in enumerate(messages)]
                    if entries:
                        await handlers["DeleteMessageBatch"](CONTEXT, {**queue, "Entries": entries})
                    done += len(entries)
                return done

            start_s, before_s = time.perf_counter(), time.process_time()
            until_s = start_s + for_s
            done = sum(await asyncio.gather(*[cycle(number) for number in range(clients)]))
            took_s, used_s = time.perf_counter() - start_s, time.process_time() - before_s
            kind = "FIFO" if is_fifo else "standard"
            print(f"{kind}, {clients} clients in process: {done / took_s:,.0f} messages/s, {used_s / done * 1e6:.0f} us for each")
            running.cancel()


def _child(pid: int, role: str) -> int:
    """Find the server's process below `lambdad up`."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"lambdad.app" in words and role.encode() in words and str(pid).encode() in words:
                return int(entry.name)
    raise LookupError(role)


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run() -> None:
    """Measure both kinds of queues over HTTP, as `make bench` does."""
    for is_fifo in (False, True):
        over_http(FOR_S, CLIENTS, is_fifo=is_fifo)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--for", type=float, default=FOR_S, dest="for_s")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--in-process", action="store_true")
    parser.add_argument("--fifo", action="store_true")
    arguments = parser.parse_args()
    if arguments.in_process:
        uvloop.run(in_process(arguments.for_s, arguments.clients, is_fifo=arguments.fifo))
    else:
        over_http(arguments.for_s, arguments.clients, is_fifo=arguments.fifo)


if __name__ == "__main__":
    main()
