"""The managed Python runtime: imports the handler, asks the Runtime API for events, posts what the handler returns.

Standard library only, any CPython from 3.8 on, one file: it is bound to /var/runtime/bootstrap.py inside an environment.

* In a template process: ``preload()`` once, ``preload_later()`` when there is time, then in each forked child ``main(payload)``.
* As a plain process: ``python3 bootstrap.py``, with everything in the environment variables.

Source: Lambda Developer Guide, "Using the Lambda runtime API" and "Log and monitor Python Lambda functions".
"""

import builtins
import functools
import importlib
import importlib.machinery
import io
import json
import logging
import os
import random
import re
import signal
import socket
import struct
import sys
import threading
import time
import traceback

_API = "/2018-06-01/runtime/"
_RUNTIME_DIR = "/var/runtime"
_FRAME_TEXT = 0xA55A0003  # AWS's mark of a framed log record
_MAX_FRAME_BYTES = 256 * 1024 - 26  # of a log event; longer records become several
_MAX_JOINED_BYTES = 65_536  # of an answer that is sent together with the request for the next event
_MAX_CAUSE_BYTES = 8_192  # of the X-Ray cause header: a server may refuse long heads
_NBSP = "\u00a0"
_SCALARS = frozenset((str, int, float, bool, type(None)))
_AWS_LEVELS = {
    "TRACE": logging.NOTSET,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
    "FATAL": logging.CRITICAL,
    "CRITICAL": logging.CRITICAL,
}
base_bytes = 0  # memory of a template without the SDK: what every function has of it
_LIBRARY = (
    "argparse base64 calendar collections.abc concurrent.futures contextlib copy csv dataclasses datetime decimal "
    "email.parser encodings.idna enum functools hashlib hmac html http.client inspect itertools pathlib pickle queue re "
    "secrets select shutil ssl string subprocess tempfile textwrap types typing urllib.request uuid zlib"
).split()


# --- The Runtime API over one keep-alive connection ------------------------------------------------------------------


class RuntimeApi:
    """One connection to the Runtime API, kept open; made again when the other side has closed it."""

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        self._address = (host.strip("[]"), int(port)) if host else (address, 80)
        self._host = address.encode()
        self._socket = None
        self._buffer = b""
        self._next = b"GET %sinvocation/next HTTP/1.1\r\nHost: %s\r\nUser-Agent: lambdad-python\r\n\r\n" % (
            _API.encode(),
            self._host,
        )

    def next_event(self):
        """Wait for the next event; return (status, headers with lower-case names, body)."""
        return self._exchange(self._next, b"")

    def wait_restored(self):
        """Wait until this process is (a copy of) what was kept; return the status.

        In a copy the connection is gone, which is noticed here as if the other side had closed it, and asked again on a new one.
        """
        request = self._next.replace(b"invocation/next", b"restore/next", 1)
        try:
            return self._exchange(request, b"")[0]
        except (OSError, EOFError):
            if self._socket is not None:
                self._close()
            return self._exchange(request, b"")[0]

    def post(self, path, body, headers=()):
        """Post ``body``; return the status."""
        return self._exchange(self._post_head(path, body, headers), body)[0]

    def _post_head(self, path, body, headers):
        head = ["POST %s%s HTTP/1.1" % (_API, path), "Content-Type: application/json"]
        head += ["%s: %s" % pair for pair in headers]
        head.append("Content-Length: %d\r\nHost: " % len(body))
        return "\r\n".join(head).encode("utf-8", "replace") + self._host + b"\r\n\r\n"

    def answer(self, path, body, headers=()):
        """Post ``body`` and ask for the next event in one go; return what ``next_event`` does.

        The platform answers both requests with one message then: a process is woken once for each invocation.
        """
        if self._socket is None or len(body) > _MAX_JOINED_BYTES:
            self.post(path, body, headers)
            return self.next_event()
        head = self._post_head(path, body, headers)
        try:
            self._socket.sendall(head + body + self._next)
            self._receive()  # a refusal has been recorded by the platform: nothing to do
        except (ConnectionError, EOFError):
            self._lose()
            self._exchange(head, body)
        else:
            try:
                if self._socket is not None:
                    return self._receive()
            except (ConnectionError, EOFError):
                self._lose()
        return self.next_event()

    def _exchange(self, head, body):
        """Send one request and read its answer; a kept connection that turns out to be closed is opened again once."""
        if self._socket is not None:
            try:
                self._send(head, body)
                return self._receive()
            except (ConnectionError, EOFError):
                self._lose()
        self._socket = socket.create_connection(self._address)
        self._socket.settimeout(None)  # whatever the function has made the default
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._send(head, body)
        return self._receive()

    def _send(self, head, body):
        if len(body) <= 65_536:
            self._socket.sendall(head + body)
        else:
            self._socket.sendall(head)
            self._socket.sendall(body)

    def _lose(self):
        """Close a connection that turns out to be lost; called where that is caught, and raised again if an answer had begun."""
        begun = bool(self._buffer)
        self._close()
        if begun:
            raise  # noqa: PLE0704

    def _close(self):
        self._socket.close()
        self._socket = None
        self._buffer = b""

    def _fill(self):
        chunk = self._socket.recv(65_536)
        if not chunk:
            raise EOFError("the Runtime API closed the connection")
        self._buffer = self._buffer + chunk if self._buffer else chunk

    def _receive(self):
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            while end < 0:
                self._fill()
                end = self._buffer.find(b"\r\n\r\n")
            lines = self._buffer[:end].decode("utf-8", "replace").split("\r\n")
            status = int(lines[0][9:12])
            if status >= 200:
                break
            self._buffer = self._buffer[end + 4 :]  # an interim answer
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        self._buffer = self._buffer[end + 4 :]
        if "chunked" in headers.get("transfer-encoding", ""):
            body = self._read_chunks()
        else:
            body = self._read_exactly(int(headers.get("content-length", 0)))
        if headers.get("connection", "").lower() == "close":
            self._close()
        return status, headers, body

    def _read_exactly(self, size):
        if len(self._buffer) >= size:
            body, self._buffer = self._buffer[:size], self._buffer[size:]
            return body
        body = bytearray(size)
        view = memoryview(body)
        done = len(self._buffer)
        view[:done] = self._buffer
        while done < size:
            count = self._socket.recv_into(view[done:])
            if not count:
                raise EOFError("the Runtime API closed the connection in the middle of a body")
            done += count
        self._buffer = b""
        return body

    def _read_line(self):
        while True:
            end = self._buffer.find(b"\r\n")
            if end >= 0:
                line, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
                return line
            self._fill()

    def _read_chunks(self):
        parts = []
        while True:
            size = int(self._read_line().split(b";")[0], 16)
            if not size:
                break
            parts.append(bytes(self._read_exactly(size)))
            self._read_line()
        while self._read_line():
            pass  # trailers
        return b"".join(parts)


# --- What the handler is given ---------------------------------------------------------------------------------------


class Client:
    """The mobile client that called, as AWS's mobile SDKs describe it."""

    def __init__(self, fields):
        self.installation_id = fields.get("installation_id")
        self.app_title = fields.get("app_title")
        self.app_version_name = fields.get("app_version_name")
        self.app_version_code = fields.get("app_version_code")
        self.app_package_name = fields.get("app_package_name")

    def __repr__(self):
        return _describe(self)


class ClientContext:
    """What the caller put into ``X-Amz-Client-Context``."""

    def __init__(self, fields):
        self.custom = fields.get("custom")
        self.env = fields.get("env")
        self.client = Client(fields["client"]) if isinstance(fields.get("client"), dict) else None

    def __repr__(self):
        return _describe(self)


class CognitoIdentity:
    """The Cognito identity of the caller; both members are None when there is none."""

    def __init__(self, fields):
        self.cognito_identity_id = fields.get("cognitoIdentityId")
        self.cognito_identity_pool_id = fields.get("cognitoIdentityPoolId")

    def __repr__(self):
        return _describe(self)


class LambdaContext:
    """The second argument of every handler."""

    def __init__(self, headers, epoch_deadline_ms):
        environ = os.environ
        self.aws_request_id = headers.get("lambda-runtime-aws-request-id", "")
        self.log_group_name = environ.get("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = environ.get("AWS_LAMBDA_LOG_STREAM_NAME")
        self.function_name = environ.get("AWS_LAMBDA_FUNCTION_NAME")
        self.memory_limit_in_mb = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.function_version = environ.get("AWS_LAMBDA_FUNCTION_VERSION")
        self.invoked_function_arn = headers.get("lambda-runtime-invoked-function-arn")
        self.tenant_id = headers.get("lambda-runtime-aws-tenant-id")
        client = headers.get("lambda-runtime-client-context")
        fields = json.loads(client) if client else None
        self.client_context = ClientContext(fields) if isinstance(fields, dict) else None
        identity = headers.get("lambda-runtime-cognito-identity")
        fields = json.loads(identity) if identity else None
        self.identity = CognitoIdentity(fields if isinstance(fields, dict) else {})
        self._epoch_deadline_time_in_ms = epoch_deadline_ms

    def get_remaining_time_in_millis(self):
        """Return the milliseconds until the function's timeout, never below 0."""
        return max(self._epoch_deadline_time_in_ms - int(time.time() * 1000), 0)

    def log(self, message):
        """Write ``message`` to the function's log as one record."""
        _sink.write(str(message))

    def __repr__(self):
        return _describe(self)


def _describe(thing):
    members = ",".join("%s=%s" % (name, value) for name, value in vars(thing).items() if not name.startswith("_"))
    return "%s([%s])" % (type(thing).__name__, members)


# --- Logs ------------------------------------------------------------------------------------------------------------


class PipeSink:
    """Writes log records to standard output; the platform splits them at newlines."""

    line_end = "\r"  # within a record that must stay one event

    def write(self, text):
        """Write one record."""
        sys.stdout.write(text)
        sys.stdout.flush()


class FrameSink:
    """Writes each record in a frame of its own, so that one with newlines stays one log event.

    Frame, big endian: 4 bytes mark, 4 bytes length of the text, 8 bytes Unix time in microseconds, the text in UTF-8.
    """

    line_end = "\n"

    def __init__(self, fd):
        if fd > 2:  # standard output and error stay the function's own
            os.set_inheritable(fd, False)
        self._fd = fd
        self._lock = threading.Lock()

    def write(self, text):
        """Write one record."""
        _flush()  # the descriptor may be standard output's: what was printed before stays before
        at_us = time.time_ns() // 1000
        with self._lock:
            while text:
                part, text = text[: _MAX_FRAME_BYTES // 4], text[_MAX_FRAME_BYTES // 4 :]
                data = part.encode("utf-8", "replace")
                frame = struct.pack(">IIQ", _FRAME_TEXT, len(data), at_us) + data
                while frame:
                    frame = frame[os.write(self._fd, frame) :]


_sink = PipeSink()
_request_id = ""
_tenant_id = None


class _RequestFilter(logging.Filter):
    def filter(self, record):
        record.aws_request_id = _request_id
        if _tenant_id:
            record.tenant_id = _tenant_id
        return True


class _SinkHandler(logging.Handler):
    """The root logger's handler, as AWS installs it."""

    def emit(self, record):
        try:
            _sink.write(self.format(record))
        except Exception:  # a record that cannot be formatted must not break the handler that logs it
            self.handleError(record)


class _TextFormatter(logging.Formatter):
    converter = time.gmtime

    def __init__(self):
        super().__init__("[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n", "%Y-%m-%dT%H:%M:%S")


class _JsonFormatter(logging.Formatter):
    _OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "aws_request_id", "tenant_id"}

    def format(self, record):
        line = {
            "timestamp": _iso(record.created),
            "level": record.levelname,
            "message": record.getMessage(),
            "logger": record.name,
        }
        if record.exc_info and record.exc_info[0]:
            kind, error, trace = record.exc_info
            line["stackTrace"] = traceback.format_list(_frames(trace))
            line["errorType"] = kind.__name__
            line["errorMessage"] = str(error)
            line["location"] = "%s:%s:%d" % (record.pathname, record.funcName, record.lineno)
        line["requestId"] = getattr(record, "aws_request_id", None) or None
        line["tenantId"] = getattr(record, "tenant_id", None)
        for name, value in vars(record).items():
            if name not in self._OWN and name not in line:
                line[name] = value
        line = {name: value for name, value in line.items() if value is not None}
        return json.dumps(line, default=str, ensure_ascii=False) + "\n"


def _iso(seconds):
    whole = int(seconds)
    return "%s.%03dZ" % (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)), int((seconds - whole) * 1000))


def _json_logs():
    return os.environ.get("AWS_LAMBDA_LOG_FORMAT") == "JSON"


def _open_output():
    """Make standard output and error write each line at once, whatever this process used them for before."""
    for fd, name, errors in ((1, "stdout", "surrogateescape"), (2, "stderr", "backslashreplace")):
        stream = io.TextIOWrapper(
            io.BufferedWriter(io.FileIO(fd, "w", closefd=False)), encoding="utf-8", errors=errors, line_buffering=True
        )
        setattr(sys, name, stream)
        setattr(sys, "__%s__" % name, stream)


def _open_logs():
    """Install the sink and the root logger's handler."""
    global _sink
    fd = os.environ.pop("_LAMBDA_TELEMETRY_LOG_FD", "")
    _sink = FrameSink(int(fd)) if fd.isdigit() else PipeSink()
    handler = _SinkHandler()
    handler.setFormatter(_JsonFormatter() if _json_logs() else _TextFormatter())
    handler.addFilter(_RequestFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    level = os.environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper()
    wanted = _AWS_LEVELS.get(level, logging.INFO) if _json_logs() else logging.WARNING
    if root.level != wanted:  # setting it writes to every logger there is
        root.setLevel(wanted)


# --- Errors ----------------------------------------------------------------------------------------------------------


class Fault(Exception):
    """A failure that the runtime itself reports, with AWS's type."""

    def __init__(self, kind, message, trace=()):
        super().__init__(message)
        self.kind = kind
        self.trace = list(trace)


def _frames(trace):
    """Return the traceback as (file, line, function, text), without this file's frames in front."""
    frames = [(f.filename, f.lineno, f.name, f.line) for f in traceback.extract_tb(trace)]
    ours = _frames.__code__.co_filename
    while frames and frames[0][0] == ours:
        del frames[0]
    return frames


def _report(error):
    """Turn an exception into AWS's payload, and into X-Ray's cause (None for the runtime's own faults)."""
    if isinstance(error, Fault):
        kind, message, stack, frames = error.kind, str(error), error.trace, ()
    else:
        kind, message, frames = type(error).__name__, str(error), _frames(error.__traceback__)
        stack = traceback.format_list(frames)
    payload = {"errorMessage": message, "errorType": kind, "requestId": _request_id, "stackTrace": stack}
    if not frames:
        return payload, None
    cause = {
        "working_directory": os.getcwd(),
        "exceptions": [
            {
                "type": kind,
                "message": message,
                "stack": [{"path": path, "line": line, "label": label} for path, line, label, _ in frames],
            }
        ],
        "paths": sorted({path for path, _, _, _ in frames}),
    }
    return payload, json.dumps(cause)


def _log_error(payload):
    """Write one log event for a failed invocation or init."""
    if _json_logs():
        line = {
            "timestamp": _iso(time.time()),
            "level": "ERROR",
            "message": payload["errorMessage"],
            "errorType": payload["errorType"],
            "errorMessage": payload["errorMessage"],
            "stackTrace": payload["stackTrace"],
        }
        if _request_id:
            line["requestId"] = _request_id
        if _tenant_id:
            line["tenantId"] = _tenant_id
        _sink.write(json.dumps(line, ensure_ascii=False) + "\n")
        return
    kind, message = payload["errorType"], payload["errorMessage"]
    lines = ["[ERROR] %s: %s" % (kind, message) if message else "[ERROR] %s" % kind]
    lines.append("Traceback (most recent call last):")
    for entry in payload["stackTrace"]:
        for line in entry.rstrip("\n").split("\n"):
            text = line.lstrip(" ")
            lines.append(_NBSP * (len(line) - len(text)) + text)
    _sink.write(_sink.line_end.join(lines) + "\n")


# --- JSON ------------------------------------------------------------------------------------------------------------


class _Encoder(json.JSONEncoder):
    """Encodes as the managed runtimes do: decimals digit by digit, bytes as UTF-8 text, named tuples as objects."""

    def __init__(self, **options):
        super().__init__(**options)
        self._mark = "decimal:%s:" % os.urandom(8).hex()  # stands for a decimal's digits until the text is made
        self._decimals = []
        self._decimal = None

    def default(self, value):
        if isinstance(value, (bytes, bytearray)):
            return value.decode("utf-8")
        if self._decimal is None:
            from decimal import Decimal  # not before somebody may have made one

            self._decimal = Decimal
        if isinstance(value, self._decimal):
            self._decimals.append(str(value))
            return "%s%d" % (self._mark, len(self._decimals) - 1)
        raise TypeError("Object of type %s is not JSON serializable" % type(value).__name__)

    def dump(self, value):
        """Return the JSON text of ``value`` in UTF-8; raise what the encoder raises."""
        try:
            text = self.encode(value)
            if type(value) not in _SCALARS and _has_named_tuple(value):
                self._decimals.clear()
                text = self.encode(_plain(value))
        except TypeError as error:
            if "keys must be" not in str(error):
                raise
            self._decimals.clear()
            text = self.encode(_plain(value))
        finally:
            decimals, self._decimals = self._decimals, []
        if decimals:
            text = re.sub('"%s([0-9]+)"' % self._mark, lambda found: decimals[int(found.group(1))], text)
        return text.encode("utf-8")


def _has_named_tuple(value):
    """Say whether a named tuple is anywhere inside. The value is known to have no cycles."""
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            value = value.values()
        elif isinstance(value, tuple):
            if hasattr(value, "_asdict"):
                return True
        elif not isinstance(value, list):
            continue
        stack += [inner for inner in value if type(inner) not in _SCALARS]
    return False


def _plain(value):
    """Copy containers with named tuples made objects and unusual keys made text."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {_key(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value


def _key(key):
    if isinstance(key, bytes):
        return key.decode("utf-8")
    return str(key) if type(key).__name__ == "Decimal" else key


def _make_encoder():
    """Answers are ASCII up to the python3.11 runtime and Unicode from python3.12 on."""
    name = os.environ.get("AWS_EXECUTION_ENV", "").rpartition("python3.")[2]
    minor = int(name) if name.isdigit() else sys.version_info[1]
    return _Encoder(ensure_ascii=minor < 12)


# --- Init ------------------------------------------------------------------------------------------------------------


def _load_handler(name):
    """Import the handler named ``package/module.function``; raise Fault or whatever the module raises."""
    try:
        module_name, function_name = name.rsplit(".", 1)
    except ValueError as error:
        raise Fault("Runtime.MalformedHandlerName", "Bad handler '%s': %s" % (name, error)) from None
    if module_name.split(".")[0] in sys.builtin_module_names:
        raise Fault("Runtime.BuiltinModuleConflict", "Cannot use built-in module %s as a handler module" % module_name)
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        raise Fault("Runtime.ImportModuleError", "Unable to import module '%s': %s" % (module_name, error)) from None
    except SyntaxError as error:
        where = '  File "%s" Line %s\n    %s' % (error.filename, error.lineno, error.text)
        text = "Syntax error in module '%s': %s" % (module_name, error)
        raise Fault("Runtime.UserCodeSyntaxError", text, [where]) from None
    try:
        return getattr(module, function_name)
    except AttributeError:
        text = "Handler '%s' missing on module '%s'" % (function_name, module_name)
        raise Fault("Runtime.HandlerNotFound", text) from None


def _layers_root():
    """Return where layers lie: /opt, or where a process without a root of its own finds them."""
    return os.environ.get("LAMBDAD_LAYERS_ROOT", "/opt")


def _set_paths():
    """Set ``sys.path``: code, layers, PYTHONPATH, the standard library, and last the SDK that the platform brings.

    Packages that happen to be installed beside the interpreter are left out: on AWS there are none.
    """
    site = ("site-packages", "dist-packages")
    here = os.path.dirname(os.path.abspath(__file__))
    task = os.environ.get("LAMBDA_TASK_ROOT", "/var/task")
    layers = [_layers_root() + "/python/lib/python%d.%d/site-packages" % sys.version_info[:2], _layers_root() + "/python"]
    extra = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    home = os.path.dirname(os.__file__)
    archive = "python%d%d.zip" % sys.version_info[:2]
    library = [path for path in sys.path if path.startswith(home) or os.path.basename(path) == archive]
    library = [path for path in library if os.path.basename(path) not in site]
    own = (_RUNTIME_DIR, here, os.environ.get("LAMBDA_RUNTIME_DIR", _RUNTIME_DIR))
    path = [entry for entry in [task, *layers, *extra, *library] if entry not in own]
    sys.path[:] = list(dict.fromkeys([*path, own[2]]))
    for place in (task, *layers, *extra):
        sys.path_importer_cache.pop(place, None)  # what the template saw in these places is not what is there now


def _become_function(payload):
    """Take on a function's environment; what the template process was must not be seen any more."""
    if "environment" in payload:
        os.environ.clear()
        os.environ.update(payload["environment"])
    if "cwd" in payload:
        os.chdir(payload["cwd"])
    time.tzset()
    random.seed()
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    sys.argv = [os.path.abspath(__file__)]
    for name in ("SIGTERM", "SIGINT", "SIGCHLD", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    if __name__ != "__main__":
        sys.modules.pop(__name__, None)
        sys.modules["__main__"] = type(sys)("__main__")
        sys.modules["__main__"].__file__ = sys.argv[0]
    _open_output()
    _open_logs()
    _set_paths()
    _shelf.open()
    os.environ.pop("LAMBDAD_LAYERS_ROOT", None)


def preload_later():
    """
    Import boto3, where the platform brings it: what many functions need, and takes so long that the first one should not wait for it.

    Where that fails nothing of it stays, and the function's own import will say so.
    """
    if not os.path.isdir(os.path.join(_RUNTIME_DIR, "boto3")):
        return
    before, path = set(sys.modules), list(sys.path)
    try:
        preload(_SDK)
    except Exception:
        sys.path[:] = path
        for name in set(sys.modules) - before:
            del sys.modules[name]


def _resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def preload(modules=()):
    """Import what every function needs, in a template process, before it is forked.

    Args:
        modules: further modules, found in /var/runtime or on ``sys.path``. Functions that never import them do not see them, and a
            function that brings its own copy of one of them gets its own.

    Ordering: call before any thread is started, with /var/runtime in place; ends with the garbage collector frozen, so that
    collections in the children leave the shared pages alone.
    """
    global base_bytes
    import gc

    for name in _LIBRARY:
        try:
            importlib.import_module(name)
        except ImportError:
            pass  # an interpreter built without it; the function's own import will say so
    base_bytes = base_bytes or _resident_bytes()
    before = set(sys.modules)
    path = list(sys.path)
    if modules and _RUNTIME_DIR not in sys.path:
        sys.path.insert(0, _RUNTIME_DIR)
    for name in modules:
        importlib.import_module(name)
    if "boto3" in modules:
        _rehearse(sys.modules["boto3"])
        _read_models_ahead(sys.modules["botocore.loaders"])
    sys.path[:] = path
    _shelf.put(set(sys.modules) - before)
    if not hasattr(builtins, "exit"):  # started with -S
        import site

        site.setquit()
        site.setcopyright()
        site.sethelper()
    sys.path_importer_cache.clear()  # else every child would, page by page
    gc.collect()
    gc.freeze()


# --- Compiling ahead -------------------------------------------------------------------------------------------------

_MAX_SOURCE_BYTES = 8 * 1024 * 1024  # of a module; larger ones are data


def _compile(root):
    """Compile every module below ``root`` and write what comes of it to standard output. Nothing of it is run.

    Record, big endian: 4 bytes length of the name, 4 bytes length of the content, the name, the content; names are
    ``pkg/__pycache__/module.cpython-313.pyc``, relative to ``root``. The last record is empty.
    """
    import importlib.util
    import py_compile

    made = "/tmp/module.pyc"
    for directory, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in ("__pycache__", "node_modules"))
        for name in sorted(files):
            source = os.path.join(directory, name)
            try:
                if not name.endswith(".py") or os.path.islink(source) or os.path.getsize(source) > _MAX_SOURCE_BYTES:
                    continue
                py_compile.compile(source, made, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
                with open(made, "rb") as file:
                    content = file.read()
                cached = os.path.relpath(importlib.util.cache_from_source(source), root).encode()
            except Exception:  # what cannot be compiled is told about when it is imported
                continue
            _write_record(cached, content)
    _write_record(b"", b"")


def _write_record(name, content):
    rest = memoryview(struct.pack(">II", len(name), len(content)) + name + content)
    while rest:
        rest = rest[os.write(1, rest) :]


# --- The SDK, loaded ahead --------------------------------------------------------------------------------------------

_SDK = (
    "boto3 boto3.dynamodb.conditions boto3.dynamodb.transform boto3.dynamodb.types boto3.s3.inject boto3.s3.transfer "
    "boto3.resources.factory botocore.awsrequest botocore.httpsession botocore.parsers botocore.serialize botocore.signers "
    "botocore.waiter botocore.paginate botocore.retries.standard s3transfer.manager s3transfer.subscribers"
).split()
# Packages that the SDK uses if it finds them as it is imported: with one of these at hand it would be another SDK.
_OPTIONAL = ("awscrt", "certifi", "brotli", "brotlicffi", "zstandard", "simplejson")
# Of these services the models are read ahead: small ones, or very common ones. They take about 20 MiB, shared by all functions.
_SERVICES = ("dynamodb", "lambda", "s3", "secretsmanager", "sns", "sqs", "sts")
_DOCUMENTS = ("endpoints", "partitions", "sdk-default-configuration", "_retry")
_MODELS = ("service-2", "service-2.sdk-extras", "endpoint-rule-set-1")


class _Shelf:
    """Modules that were imported ahead of the functions that may want them, out of sight until one does.

    At that moment, with the function's own ``sys.path``, each of them is looked for. When one, or an optional companion, would be
    found elsewhere than where it was imported from, none is used, and the import goes its usual way.
    """

    def __init__(self):
        self._modules = {}
        self._tops = {}  # top-level name -> where it was imported from

    def put(self, names):
        """Take modules off ``sys.modules``, but for those of the standard library."""
        library = (os.path.dirname(os.__file__), "<frozen")
        for name in names:
            top = name.partition(".")[0]
            file = getattr(sys.modules.get(top), "__file__", None) or "<frozen"
            if not file.startswith(library) or "site-packages" in file:
                self._tops[top] = file
        for name in names:
            if name.partition(".")[0] in self._tops:
                self._modules[name] = sys.modules.pop(name)

    def open(self):
        """Begin to answer imports, in a function's process."""
        if self._modules:
            sys.meta_path.insert(0, self)

    def find_spec(self, name, path=None, target=None):
        """Find a module on the shelf, unless the function would find another one."""
        if name not in self._tops:
            return None
        if self._is_shadowed():
            self._close()
            return None
        spec = self._modules[name].__spec__
        ours = type(spec)(name, self, origin=spec.origin, is_package=spec.submodule_search_locations is not None)
        if ours.submodule_search_locations is not None:
            ours.submodule_search_locations.extend(spec.submodule_search_locations)
        ours.has_location = spec.has_location
        return ours

    def create_module(self, spec):
        """Put everything back in its place."""
        self._close()
        sys.modules.update(self._modules)
        loaders = self._modules.get("botocore.loaders")
        if loaders is not None:  # it looked for a home directory when it was imported, and that was the template's
            loaders.Loader.CUSTOMER_DATA_PATH = os.path.join(os.path.expanduser("~"), ".aws", "models")
        return self._modules[spec.name]

    def exec_module(self, module):
        """Leave no trace of where the module has been."""
        original = self._specs[module.__name__]
        module.__spec__, module.__loader__ = original, original.loader

    def _close(self):
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        self._specs = {name: self._modules[name].__spec__ for name in self._tops}

    def _is_shadowed(self):
        find = importlib.machinery.PathFinder.find_spec
        for name, file in self._tops.items():
            spec = find(name)
            if name in sys.modules or (spec is not None and spec.origin != file):
                return True
        return any(find(name) is not None for name in _OPTIONAL)


_shelf = _Shelf()


def _rehearse(boto3):
    """Make clients once, so that expressions are compiled and names converted when functions make theirs.

    With made-up credentials, and sessions that are thrown away: nothing is looked up, connected to or kept but pure functions' results.
    """
    session = boto3.session.Session("rehearsal", "rehearsal", "rehearsal", region_name="us-east-1")
    for service in ("s3", "dynamodb"):
        try:
            session.client(service, endpoint_url="http://127.0.0.1:9")
        except Exception:  # the function's own attempt will say why
            return


def _read_models_ahead(loaders):
    """Have botocore's loader find ready what it would read first: each document once, for whoever asks for it first.

    What it gets is as fresh as if it had just been read. Of what it reads later, and elsewhere, nothing changes.
    """
    loader_class, file_loader_class = loaders.Loader, loaders.JSONFileLoader
    data = loader_class.BUILTIN_DATA_PATH
    load_file, list_services = file_loader_class.load_file, loader_class.list_available_services
    known = (data, os.path.join(os.path.dirname(os.path.dirname(data)), "boto3", "data"))
    reader, finder = file_loader_class(), loader_class([known[1]])
    names = list(_DOCUMENTS)
    for service in _SERVICES:
        for model in _MODELS:
            try:
                names.append("%s/%s/%s" % (service, finder.determine_latest_version(service, "service-2"), model))
            except Exception:  # an SDK that does not have it
                break
    ready = {os.path.join(data, name): load_file(reader, os.path.join(data, name)) for name in names}
    listed = {kind: list_services(finder, kind) for kind in ("service-2", "endpoint-rule-set-1")}

    def load_file_ahead(self, file_path):
        document = ready.pop(file_path, None)
        return load_file(self, file_path) if document is None else document

    def list_services_ahead(self, type_name):
        others = [path for path in self.search_paths if path not in known and os.path.isdir(path)]
        if type_name not in listed or others or data not in self.search_paths or type(self.file_loader) is not file_loader_class:
            return list_services(self, type_name)
        return list(listed[type_name])

    file_loader_class.load_file = functools.wraps(load_file)(load_file_ahead)
    loader_class.list_available_services = functools.wraps(list_services)(list_services_ahead)


# --- Invoke ----------------------------------------------------------------------------------------------------------


def _post_error(api, path, error, headers=(), kind=""):
    payload, cause = _report(error)
    _log_error(payload)
    _flush()
    headers = [*headers, ("Lambda-Runtime-Function-Error-Type", kind or payload["errorType"])]
    if cause and len(cause) <= _MAX_CAUSE_BYTES:
        headers.append(("Lambda-Runtime-Function-XRay-Error-Cause", cause))
    api.post(path, json.dumps(payload).encode(), headers)


def _flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # the function may have replaced or closed it: its own affair
            pass


def _invoke(api, handler, encoder, headers, body):
    """Run the handler once, post its result or its error, and return the next event."""
    global _request_id, _tenant_id
    _request_id = headers.get("lambda-runtime-aws-request-id", "")
    _tenant_id = headers.get("lambda-runtime-aws-tenant-id")
    trace = headers.get("lambda-runtime-trace-id")
    if trace:
        os.environ["_X_AMZN_TRACE_ID"] = trace
    else:
        os.environ.pop("_X_AMZN_TRACE_ID", None)
    attempt = headers.get("lambda-runtime-invocation-id")
    echo = (("Lambda-Runtime-Invocation-Id", attempt),) if attempt else ()
    path = "invocation/%s/" % _request_id
    try:
        try:
            event = json.loads(body.decode("utf-8"))
            context = LambdaContext(headers, int(headers.get("lambda-runtime-deadline-ms", 0)))
        except Exception as error:
            raise Fault("Runtime.UnmarshalError", "Unable to unmarshal input: %s" % error) from None
        result = handler(event, context)
        try:
            answer = encoder.dump(result)
        except Exception as error:
            raise Fault("Runtime.MarshalError", "Unable to marshal response: %s" % error) from None
    except Exception as error:  # whatever the function raises is its answer
        _post_error(api, path + "error", error, echo)
        return api.next_event()
    _flush()
    return api.answer(path + "response", answer, echo)


# --- SnapStart -------------------------------------------------------------------------------------------------------


def _hooks(which):
    """Return the hooks that the function registered, if it did: with AWS's package in its zip, or with the one beside this file."""
    module = sys.modules.get("snapshot_restore_py")
    return getattr(module, which)() if module is not None else []


def _take_snapshot(api):
    """Run the hooks before the snapshot, wait through it, and run those after the restore. Returns an exit status, None to go on."""
    import gc

    try:
        hooks = _hooks("get_before_snapshot")
        while hooks:
            function, args, kwargs = hooks.pop()
            function(*args, **kwargs)
    except Exception as error:  # whatever a hook raises is the outcome of Init
        _post_error(api, "init/error", error, kind="Runtime.BeforeSnapshotError")
        return 64
    _flush()
    gc.collect()
    gc.freeze()  # so that collections in the copies leave the shared pages alone
    status = api.wait_restored()
    if status != 200:
        sys.stderr.write("the Runtime API answered %d to restore/next\n" % status)
        return 1
    _draw_anew()
    try:
        for function, args, kwargs in _hooks("get_after_restore"):
            function(*args, **kwargs)
    except Exception as error:  # whatever a hook raises is the outcome of the restore
        _post_error(api, "restore/error", error, kind="Runtime.AfterRestoreError")
        return 65
    _flush()
    return None


def _draw_anew():
    """Give what draws random numbers in this process's own memory a new seed, so that no two copies draw the same.

    What asks the kernel (``os.urandom``, ``secrets``, ``uuid.uuid4``, ``random.SystemRandom``) never does.
    """
    random.seed()
    if "_ssl" in sys.modules:
        sys.modules["_ssl"].RAND_add(os.urandom(64), 64.0)
    tempfile = sys.modules.get("tempfile")
    if tempfile is not None:
        tempfile._name_sequence = None
    uuid = sys.modules.get("uuid")
    if uuid is not None:
        uuid._node = uuid._last_timestamp = None


def _run(payload):
    global _request_id
    if "compile" in payload:
        _compile(payload["compile"])
        return 0
    _become_function(payload)
    api = RuntimeApi(os.environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        handler = _load_handler(os.environ.get("_HANDLER", ""))
    except Exception as error:  # whatever the function's module raises is the outcome of Init
        _request_id = ""
        _post_error(api, "init/error", error)
        return 1
    encoder = _make_encoder()
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        left = _take_snapshot(api)
        if left is not None:
            return left
    status, headers, body = api.next_event()
    while status == 200:
        status, headers, body = _invoke(api, handler, encoder, headers, body)
    sys.stderr.write("the Runtime API answered %d to invocation/next: %s\n" % (status, bytes(body[:200])))
    return 1


def rehearse():
    """
    Go through the motions of Init and of one invocation, in a process that does not know yet whose it will be.

    A forked process copies each page that it writes to, and the first moments write to hundreds. Nothing of it stays that ``main`` does
    not set anew.
    """
    environment = dict(os.environ)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            os.environ.update({"_HANDLER": "rehearsal.handler", "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"})
            _open_output()
            _open_logs()
            _set_paths()
            random.seed()
            try:
                _load_handler("rehearsal-%d.handler" % os.getpid())
            except Fault as fault:
                _report(fault)
            api = RuntimeApi("127.0.0.1:9001")
            api._socket = ours
            for _ in range(3):
                theirs.sendall(b"HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: 1\r\nContent-Length: 15\r\n\r\n" + b'{"key":"value"}')
            _, headers, body = api.next_event()
            _invoke(api, lambda event, context: event, _make_encoder(), headers, body)
            api._socket = None
        finally:
            os.environ.clear()
            os.environ.update(environment)
            _forget_invocation()


def _forget_invocation():
    global _request_id, _tenant_id
    _request_id, _tenant_id = "", None


def main(payload=None):
    """Be a function until the platform ends the process. Never returns: leaves by ``os._exit``, past the template's code.

    Args:
        payload: in a forked child, all members optional: {"environment": {"_HANDLER": "app.handler", ...}, "cwd": "/var/task"}.
            An environment given here replaces ``os.environ``. {"compile": directory} compiles instead, and is no function.
    """
    status = 1
    try:
        status = _run(payload or {})
    except SystemExit as leave:
        status = leave.code
        if status is None:
            status = 0
        elif not isinstance(status, int):
            sys.stderr.write("%s\n" % (status,))
            status = 1
    except BaseException:  # as the interpreter does at its top level: tell, and leave
        traceback.print_exc()
    finally:
        try:
            threading._shutdown()
            import atexit

            atexit._run_exitfuncs()
        finally:
            _flush()
            os._exit(status & 0xFF)


if __name__ == "__main__":
    main()
