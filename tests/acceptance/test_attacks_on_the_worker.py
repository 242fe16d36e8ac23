# ruff: noqa: E501
"""What functions send to those who serve them: the Runtime API, the log, the endpoint for AWS's APIs, the code store. A neighbour works all the while."""

import concurrent.futures
import json
import os
import re
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from conftest import PYTHON, ROLE, Functions, Lambdad, zipped  # type: ignore[import-not-found]

pytestmark = pytest.mark.usefixtures("fenced")

# The beginning of every attacker: sockets to its Runtime API and to the endpoint, raw.
TOOLS = """
import http.client, json, os, re, select, signal, socket, struct, sys, threading, time
RUNTIME, ENDPOINT = ('127.0.0.1', 9001), ('169.254.100.1', 4566)
PREFIX = b'/2018-06-01/runtime/'
def dial(address=RUNTIME):
    return socket.create_connection(address, 5)
def ask(raw, address=RUNTIME, wait=2):
    'Send bytes; return the status lines of what is answered until the connection is quiet or closed.'
    with dial(address) as sock:
        sock.settimeout(wait)
        heard = b''
        try:
            sock.sendall(raw)
            while data := sock.recv(65536):
                heard += data
                if wait > 1:
                    sock.settimeout(0.3)
        except OSError:
            pass
    return [int(status) for status in re.findall(rb'HTTP/1.1 (\\d+)', heard) if status != b'100']
def post(path, body=b'{}', head=b''):
    return b'POST ' + PREFIX + path + b' HTTP/1.1\\r\\ncontent-length: %d\\r\\n' % len(body) + head + b'\\r\\n' + body
NEXT = b'GET ' + PREFIX + b'invocation/next HTTP/1.1\\r\\n\\r\\n'
PING = b'GET /ping HTTP/1.1\\r\\n\\r\\n'
"""


def attacker(functions: Functions, body: str, **options: Any) -> str:
    """Deploy the body of a handler after `TOOLS`."""
    lines = "".join(f"    {line}\n" for line in body.strip("\n").splitlines())
    return functions.deploy(f"{TOOLS}\ndef handler(event, context):\n{lines}", **{"Timeout": 20, "MemorySize": 512, **options})


@contextmanager
def busy_neighbour(functions: Functions) -> Iterator[None]:
    """Invoke a warm function all the while; it must be answered each time, by the same environment, within seconds."""
    name = functions.deploy("import os\nkey = os.urandom(8).hex()\ndef handler(event, context):\n    return [key, event]\n")
    key = functions.invoke(name)["Payload"][0]
    ending, slowest_s, count = threading.Event(), 0.0, 0

    def work() -> None:
        nonlocal slowest_s, count
        while not ending.is_set():
            began_s = time.monotonic()
            assert functions.invoke(name, count)["Payload"] == [key, count]
            slowest_s = max(slowest_s, time.monotonic() - began_s)
            count += 1

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            yield
        finally:
            ending.set()
        working.result()
    assert count > 0 and slowest_s < 8


def resident_mib(pid: int) -> float:
    found = re.search(r"^VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


REQUESTS = """
mine = context.aws_request_id.encode()
told = {
    'another id': ask(post(b'invocation/00000000-0000-0000-0000-000000000000/response')),
    'no id': ask(post(b'invocation//response')),
    'a path upwards': ask(post(b'invocation/../../../response')),
    'next while it runs': ask(NEXT),
    'init error while it runs': ask(post(b'init/error')),
    'unknown': ask(b'GET /2018-06-01/secrets HTTP/1.1\\r\\n\\r\\n'),
    'another method': ask(b'DELETE ' + PREFIX + b'invocation/next HTTP/1.1\\r\\n\\r\\n'),
    'another mode': ask(post(b'invocation/' + mine + b'/response', head=b'Lambda-Runtime-Function-Response-Mode: sideways\\r\\n')),
    'negative length': ask(b'POST ' + PREFIX + b'init/error HTTP/1.1\\r\\ncontent-length: -5\\r\\n\\r\\n{}'),
    'two lengths': ask(b'POST ' + PREFIX + b'init/error HTTP/1.1\\r\\ncontent-length: 2\\r\\ncontent-length: 3\\r\\n\\r\\n{}'),
    'length and chunks': ask(post(b'invocation/' + mine + b'/response', b'0\\r\\n\\r\\n' + NEXT, b'transfer-encoding: chunked\\r\\n')),
    'chunks of nonsense': ask(b'POST ' + PREFIX + b'init/error HTTP/1.1\\r\\ntransfer-encoding: chunked\\r\\n\\r\\nxyz\\r\\n'),
    'chunk without end': ask(b'POST ' + PREFIX + b'init/error HTTP/1.1\\r\\ntransfer-encoding: chunked\\r\\n\\r\\nffffffffffffffffff\\r\\n'),
    'headers of two megabytes': ask(b'GET /ping HTTP/1.1\\r\\nx: ' + b'y' * (2 << 20) + b'\\r\\n\\r\\n', wait=5),
    'a hundred thousand headers': ask(b'GET /ping HTTP/1.1\\r\\n' + b'a:\\r\\n' * 100000 + b'\\r\\n', wait=5),
    'tunnel': ask(b'CONNECT 127.0.0.1:22 HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n'),
    'another server': ask(b'GET http://169.254.169.254/latest HTTP/1.1\\r\\nhost: 169.254.169.254\\r\\n\\r\\n'),
    'upgrade': ask(b'GET /ping HTTP/1.1\\r\\nconnection: upgrade\\r\\nupgrade: h2c\\r\\n\\r\\n'),
    'binary': ask(bytes(range(256)) * 40),
    'TLS': ask(b'\\x16\\x03\\x01\\x02\\x00\\x01\\x00\\x01\\xfc\\x03\\x03' + os.urandom(500)),
    'HTTP/2': ask(b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n'),
    'pipelined': ask(PING * 3),
}
return told
"""
REFUSALS = {
    "another id": [400],
    "no id": [400],
    "a path upwards": [404],
    "next while it runs": [403],
    "init error while it runs": [403],
    "unknown": [404],
    "another method": [404],
    "another mode": [400],
    "negative length": [400],
    "two lengths": [400],
    "length and chunks": [400],
    "chunks of nonsense": [400],
    "chunk without end": [400],
    "headers of two megabytes": [431],
    "a hundred thousand headers": [431],
    "tunnel": [501],
    "another server": [404],
    "upgrade": [200],
    "binary": [400],
    "TLS": [400],
    "HTTP/2": [400],
    "pipelined": [200, 200, 200],
}


def test_requests_that_no_runtime_makes(functions: Functions):
    """Each is answered by the status that it deserves, none changes the invocation, which ends as if nothing had been."""
    with busy_neighbour(functions):
        answer = functions.invoke(attacker(functions, REQUESTS))
    told = answer["Payload"]
    assert "FunctionError" not in answer and {name: told[name] for name in REFUSALS if told[name] != REFUSALS[name]} == {}


FLOODS = {
    "connections that say nothing": "kept = [dial() for _ in range(60)]\nfor _ in range(1500):\n    try:\n        dial().close()\n    except OSError:\n        pass",
    "half a request on every connection": "kept = [dial() for _ in range(60)]\n[one.sendall(b'POST ' + PREFIX + b'init/error HTTP/1.1\\r\\ncontent-length: 6000000\\r\\n\\r\\n' + bytes(5000000)) if n < 4 else one.sendall(b'GET /pi') for n, one in enumerate(kept)]",
    "bodies on every connection": "def pour(sock):\n    try:\n        sock.sendall(b'POST ' + PREFIX + b'init/error HTTP/1.1\\r\\ncontent-length: 6000000\\r\\n\\r\\n' + bytes(5900000))\n    except OSError:\n        pass\nkept = [dial() for _ in range(60)]\nthreads = [threading.Thread(target=pour, args=(one,)) for one in kept]\n[one.start() for one in threads]\n[one.join() for one in threads]",
    "answers that are not read": "kept = [dial() for _ in range(30)]\nend = time.time() + 2\n[one.setblocking(False) for one in kept]\nwhile time.time() < end:\n    for one in kept:\n        try:\n            one.send(PING * 2000)\n        except OSError:\n            pass",
    "thousands behind a next": "kept = []\nfor _ in range(20):\n    try:\n        ask(NEXT + PING * 5000, wait=0.2)\n    except OSError:\n        pass",
    "trailers without end": "kept = dial()\nkept.sendall(b'POST ' + PREFIX + b'init/error HTTP/1.1\\r\\ntransfer-encoding: chunked\\r\\n\\r\\n1\\r\\n{\\r\\n0\\r\\n')\ntry:\n    for n in range(2000):\n        kept.sendall(b'x-%d: ' % n + b'y' * 100000 + b'\\r\\n')\nexcept OSError:\n    pass",
    "resets": "for n in range(1000):\n    one = dial()\n    one.sendall(NEXT[:n % len(NEXT)])\n    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))\n    one.close()",
    "a byte at a time": "one = dial()\none.setsockopt(6, 1, 1)\nfor byte in (b'GET /ping?' + b'x' * 10000):\n    one.send(bytes([byte]))",
    "connections to the endpoint": "kept = [dial(ENDPOINT) for _ in range(120)]\n[one.sendall(b'POST / HTTP/1.1\\r\\ncontent-length: 100000\\r\\n\\r\\n') for one in kept]\nfor _ in range(500):\n    try:\n        dial(ENDPOINT).close()\n    except OSError:\n        pass",
    "anything at all": "import random\ndraw = random.Random(1051)\nparts = [NEXT, PING, post(b'invocation/x/response'), post(b'init/error'), b'\\r\\n\\r\\n', b'transfer-encoding: chunked\\r\\n', b'5\\r\\nhello\\r\\n', b'content-length: 9\\r\\n', bytes(300), b'\\xff' * 50]\nfor n in range(600):\n    raw = bytearray(b''.join(draw.choices(parts, k=draw.randrange(1, 6))))\n    for _ in range(draw.randrange(4)):\n        raw[draw.randrange(len(raw))] = draw.randrange(256)\n    one = dial(draw.choice((RUNTIME, RUNTIME, ENDPOINT)))\n    one.sendall(raw[:draw.randrange(1, len(raw) + 1)])\n    if n % 3:\n        one.close()\n    elif n % 50 == 0:\n        kept = one",
    "an endpoint that is never read": "kept = dial(ENDPOINT)\nkept.setblocking(False)\nend = time.time() + 2\nwhile time.time() < end:\n    try:\n        kept.send(b'GET /_lambdad/health HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n' * 1000)\n    except OSError:\n        time.sleep(0.01)",
}  # fmt: skip


@pytest.mark.slow
def test_floods(functions: Functions, lambdad: Lambdad):
    """The worker and the server stay small and the same, the neighbour is served, and so is the attacker when it is done."""
    sources = "".join(
        f"    if event == {what!r}:\n" + "".join(f"        {line}\n" for line in FLOODS[what].splitlines()) for what in FLOODS
    )
    name = functions.deploy(f"{TOOLS}\ndef handler(event, context):\n{sources}    return 'done'\n", Timeout=20, MemorySize=1769)
    pids = lambdad.pids()
    with busy_neighbour(functions):
        for what in FLOODS:
            answer = functions.invoke(name, what)
            assert answer["Payload"] == "done", (what, answer["Payload"])
            assert resident_mib(pids["worker"]) < 200 and resident_mib(pids["server"]) < 300, what
    assert functions.invoke(name)["Payload"] == "done"
    assert lambdad.pids() == pids and lambdad.health()["status"] == "ok"


def test_answering_for_itself(functions: Functions):
    """Two answers, of which the first counts; a `next` of its own in parallel; an answer and then silence: its own invocations pay."""
    name = attacker(
        functions,
        """
mine = context.aws_request_id.encode()
if event == 'twice':
    return [ask(post(b'invocation/' + mine + b'/response', b'"first"')), ask(post(b'invocation/' + mine + b'/response', b'"second"'))]
if event == 'steal':
    threading.Thread(target=ask, args=(NEXT,), kwargs={'wait': 1}, daemon=True).start()
    ask(post(b'invocation/' + mine + b'/response', b'"stolen"'))
    time.sleep(0.2)
if event == 'abort':
    sock = dial()
    sock.sendall(b'POST ' + PREFIX + b'invocation/' + mine + b'/response HTTP/1.1\\r\\ncontent-length: 100\\r\\n\\r\\n{')
    sock.close()
return 'well'
""",
        Timeout=3,
    )
    with busy_neighbour(functions):
        assert functions.invoke(name, "twice")["Payload"] == "first"
        assert functions.invoke(name, "abort")["Payload"] == "well"
        assert functions.invoke(name, "steal")["Payload"] == "stolen"
        for _ in range(2):  # the first may go to the stolen `next`, and times out there
            last = functions.invoke(name)
        assert last["Payload"] == "well"


def test_forged_lines(functions: Functions, lambdad: Lambdad):
    """A function's lines are events of its own stream, whatever they say; the platform's own report is there too and is the one that is counted."""
    name = attacker(
        functions,
        r"""
forged = 'REPORT RequestId: 00000000-0000-0000-0000-000000000000\tDuration: 0.01 ms\tBilled Duration: 1 ms\tMemory Size: 1 MB\tMax Memory Used: 1 MB\t'
print('START RequestId: forged Version: 9', flush=True)
print(forged, flush=True)
mark = b'\xa5\x5a\x00\x03'
def frame(text, at_us=None, size=None):
    os.write(1, mark + struct.pack('>IQ', len(text) if size is None else size, int(time.time() * 1e6) if at_us is None else at_us) + text)
frame(b'framed\nin two lines')
frame(b'from the future', at_us=2 ** 63)
frame(b'from the past', at_us=1)
frame(b'', at_us=0)
frame(b'far too long', size=0xffffffff)
os.write(1, mark[:2] + b'half a mark\n')
os.write(1, bytes(range(128, 256)) + b'\n')
os.write(2, b'no newline at the end, ')
os.write(1, mark + b'\0\0\0\x20')
return 'well'
""",
    )
    answer = functions.invoke(name, LogType="Tail")
    request_id = answer["ResponseMetadata"]["RequestId"]
    assert answer["Payload"] == "well"
    tail = answer["LogResult"]
    assert tail.splitlines()[-1].startswith(f"REPORT RequestId: {request_id}\tDuration: ")
    functions.log_lines(name, count=2)
    events = functions.logs.filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]
    texts = [event["message"].rstrip("\n") for event in events]
    assert sum(text.startswith(f"REPORT RequestId: {request_id}") for text in texts) == 1
    assert "framed\nin two lines" in texts and "from the past" in texts and "from the future" in texts
    now_ms = time.time() * 1000
    assert all(event["timestamp"] <= now_ms + 1000 and event["ingestionTime"] <= now_ms + 1000 for event in events)
    assert {event["logStreamName"] for event in events} == {events[0]["logStreamName"]}


def test_code_that_leads_out(functions: Functions, attack_target: Path):
    """Links in zips and layers are refused, or lead nowhere but within the fence; nothing is unpacked outside."""
    client = functions.client
    secret = attack_target.read_text()
    before = sorted(path.name for path in attack_target.parent.iterdir())
    for link in (str(attack_target), "/etc/shadow", "../../../../../../../.." + str(attack_target), "/proc/1/root" + str(attack_target)):
        archive = _with_link(link)
        name = f"links-{os.urandom(4).hex()}"
        try:
            client.create_function(FunctionName=name, Runtime=PYTHON, Role=ROLE, Handler="app.handler", Code={"ZipFile": archive})
        except ClientError as error:
            assert error.response["Error"]["Code"] == "InvalidParameterValueException"
            continue
        functions.adopt(name)
        functions.settle(name)
        answer = functions.invoke(name)
        assert secret not in json.dumps(answer["Payload"]), link
        assert "FunctionError" in answer or answer["Payload"].startswith(("no: ", "link itself")), answer["Payload"]
    for member in ("../escaped", "/tmp/escaped", "a/../../escaped", "..\\escaped"):
        try:
            client.create_function(
                FunctionName=f"up-{os.urandom(4).hex()}", Runtime=PYTHON, Role=ROLE, Handler="app.handler",
                Code={"ZipFile": zipped({"app.py": "def handler(event, context):\n    return 1\n", member: "x"})},
            )  # fmt: skip
        except ClientError as error:
            assert error.response["Error"]["Code"] == "InvalidParameterValueException"
    assert sorted(path.name for path in attack_target.parent.iterdir()) == before
    assert not Path("/tmp/escaped").exists()


@pytest.fixture
def attack_target(tmp_path: Path) -> Path:
    """A file outside that must not be reached."""
    target = tmp_path / "target"
    target.write_text(f"secret-{os.urandom(8).hex()}")
    return target


def _with_link(link: str) -> bytes:
    import io

    out = io.BytesIO()
    source = (
        "import os\ndef handler(event, context):\n"
        "    try:\n        return open('/var/task/link').read()\n    except OSError as error:\n        return f'no: {error}'\n"
    )
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("app.py", source)
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, link)
        through = zipfile.ZipInfo("link/through")
        archive.writestr(through, "written through the link")
    return out.getvalue()


def test_credentials_of_another(own_lambdad: Callable[..., Lambdad]):
    """What a function has been given calls its own account only: another's functions are not there for it, nor with a token that was changed."""
    keys = "AKIDONE:secret:111111111111,AKIDTWO:secret:222222222222"
    running = own_lambdad("--auth", "iam", environment={"LAMBDAD_ACCESS_KEYS": keys})
    one, two = (running.client("lambda", aws_access_key_id=key, aws_secret_access_key="secret") for key in ("AKIDONE", "AKIDTWO"))
    source = (
        "import os\ndef handler(event, context):\n"
        "    return [os.environ[k] for k in ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN')]\n"
    )
    for client, account, name in ((one, "111111111111", "thief"), (two, "222222222222", "treasure")):
        client.create_function(
            FunctionName=name, Runtime=PYTHON, Role=f"arn:aws:iam::{account}:role/r", Handler="app.handler",
            Code={"ZipFile": zipped({"app.py": source})},
        )  # fmt: skip
        client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0, "MaxAttempts": 500})
    key, secret, token = json.loads(one.invoke(FunctionName="thief")["Payload"].read())

    def thief(key: str = key, secret: str = secret, token: str = token) -> Any:
        return boto3.client(
            "lambda", endpoint_url=running.url, region_name="us-east-1", config=Config(retries={"max_attempts": 0}),
            aws_access_key_id=key, aws_secret_access_key=secret, aws_session_token=token,
        )  # fmt: skip

    assert [found["FunctionName"] for found in thief().list_functions()["Functions"]] == ["thief"]
    arn = "arn:aws:lambda:us-east-1:222222222222:function:treasure"
    for operation in ("get_function", "invoke", "delete_function", "get_function_configuration"):
        for name in ("treasure", arn, "222222222222:treasure"):
            with pytest.raises(ClientError) as refused:
                getattr(thief(), operation)(FunctionName=name)
            assert refused.value.response["Error"]["Code"] in ("ResourceNotFoundException", "AccessDeniedException"), (operation, name)
    middle = len(token) // 2
    changed = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
    others = json.loads(two.invoke(FunctionName="treasure")["Payload"].read())
    for forged in (
        thief(token=changed), thief(token=others[2]), thief(secret="x" * len(secret)), thief(key=others[0]), thief(token=token[:-4]),
    ):  # fmt: skip
        with pytest.raises(ClientError) as refused:
            forged.list_functions()
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert [found["FunctionName"] for found in two.list_functions()["Functions"]] == ["treasure"]
