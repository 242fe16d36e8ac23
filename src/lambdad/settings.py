"""Settings: one frozen tree, made once from the command line, a TOML file and the environment. Nobody else reads `os.environ`.

Precedence: command line, then `LAMBDAD_...` variables, then the file, then the defaults here. AWS's quotas are no settings; they are in
`model.limits`.
"""

import ipaddress
import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import parse_qs, quote, unquote, urlsplit

AuthMode = Literal["open", "iam"]
IsolationChoice = Literal["auto", "namespaces", "plain"]
RuntimeChoice = Literal["nearest", "exact"]
CpuChoice = Literal["shared", "capped"]
EgressChoice = Literal["off", "on"]


_NETWORKS = {"egress_allow", "egress_deny", "egress_range", "sns_deny"}
_BOTH_FAMILIES = {"sns_deny"}
NEARBY = ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7")
"""This machine, and networks that are nobody else's. Source: RFC 1918, RFC 6598, RFC 4193."""


class BadSettings(Exception):
    """A setting has a value that cannot be used; the text says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """A long-term access key that is known from the start. Set by `LAMBDAD_ACCESS_KEYS="id:secret:account,..."` or in the file."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    account: str = "000000000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set.

    host, port: where the API is served. Port 0 takes a free one. 4566 is what AWS's local wrappers expect.
    data_dir: everything durable. One lambdad at a time may use it.
    auth: "open" takes any credential, and only on a loopback address; "iam" wants the right signature of a known access key.
    database_url: "" is SQLite in the data directory; or postgresql://user@host/name.
    isolation: "auto" takes the strongest there is; "plain" runs functions unfenced, "namespaces" refuses to.
    runtimes: "nearest" runs python3.13 on 3.12 if that is what there is, and says so in the function's log; "exact" refuses.
    cpu: a function's processor follows its memory (1,769 MB is one). "shared": as a share, where there is not enough for all, and
        at most one processor, or its share if that is more; "capped": never more than its share, as on AWS.
    egress: whether functions reach the internet. "off" is nothing but lambdad's own API; "on" needs root.
    egress_allow: private networks that functions may reach all the same, as CIDR.
    egress_deny: further networks that they may not reach, as CIDR; goes before `egress_allow`.
    egress_range: where the addresses of environments are taken from: a part of it to which this machine has no route.
    egress_connections: connections that one environment may have at once, those just closed included.
    sns_deny: networks to which SNS posts no message, as CIDR, of both families; see `sns_denied` for what holds where it is empty.
    interpreter_dirs: further folders to look for interpreters in.
    runtimes_dir: where `lambdad runtimes install` puts what AWS brings for a language. The same for every data directory.
    account_concurrency: concurrent executions for each account and region; AWS's default is 1,000.
    max_environments: environments that the worker holds at once; idle ones give way.
    capacity_wait_s: how long an invocation waits for room when `max_environments` are all busy, before it is throttled.
    keep_alive_s: an idle environment is ended after this long, until enough is known of how its function is used. AWS keeps them for some
        minutes.
    memory_low_percent: when less than this of the machine's memory is available, idle environments are ended. 0 switches it off.
    memory_stall_percent: when something waited for memory in more than this share of the last ten seconds, and less than a quarter is
        available, likewise. 100 switches it off.
    freeze_after_s: an idle environment is frozen after this long; long enough that a busy function is not thawed at each call.
    spare_environments: booted, unassigned environments kept for each runtime that is in use.
    snapshots: kept for versions with SnapStart, each in memory; beyond it the one used longest ago is given up. 0 keeps none.
    async_in_flight: asynchronous invocations running at once.
    drain_timeout_s: how long requests in flight may take at shutdown.
    endpoints: where services are that lambdad is to use instead of its own, by botocore's name: {"sqs": "http://key:secret@host:9324"}.
    access_keys: known from the start. With auth "iam" and none given, one is made and kept in the data directory.
    """

    host: str = "127.0.0.1"
    port: int = 4566
    data_dir: Path = Path("/var/lib/lambdad")
    auth: AuthMode = "open"
    database_url: str = ""
    isolation: IsolationChoice = "auto"
    runtimes: RuntimeChoice = "nearest"
    cpu: CpuChoice = "shared"
    egress: EgressChoice = "off"
    egress_allow: tuple[str, ...] = ()
    egress_deny: tuple[str, ...] = ()
    egress_range: str = "100.64.0.0/10"
    egress_connections: int = 1024
    sns_deny: tuple[str, ...] = ()
    interpreter_dirs: tuple[str, ...] = ()
    runtimes_dir: Path = Path("/var/lib/lambdad/runtimes")
    account_concurrency: int = 1000
    max_environments: int = 1000
    capacity_wait_s: float = 2.0
    keep_alive_s: float = 600.0
    memory_low_percent: float = 5.0
    memory_stall_percent: float = 10.0
    freeze_after_s: float = 1.5
    spare_environments: int = 2
    snapshots: int = 32
    async_in_flight: int = 200
    drain_timeout_s: float = 25.0
    log_level: str = "warning"
    endpoints: Mapping[str, str] = field(default_factory=dict, repr=False)
    access_keys: tuple[AccessKey, ...] = ()

    # In the data directory, what privileged processes write is theirs alone; the server could otherwise lead them astray by links.
    @property
    def run_dir(self) -> Path:
        """The worker's: its socket, and what it found out about this machine."""
        return self.data_dir / "run"

    @property
    def sns_denied(self) -> tuple[str, ...]:
        """Where SNS posts nothing: `sns_deny`. Where it is not set, and callers need keys, `NEARBY`: they are others than who runs this."""
        return self.sns_deny or (NEARBY if self.auth == "iam" else ())

    @property
    def server_dir(self) -> Path:
        """The server's: its database, its keys and the zips of functions."""
        return self.data_dir / "server"

    @property
    def root_key(self) -> Path:
        """The access key that is made where none is configured."""
        return self.data_dir / "access-key.json"

    @property
    def database(self) -> str:
        return self.database_url or "sqlite://" + quote(str(self.server_dir / "lambdad.sqlite3"))

    @property
    def database_socket_dir(self) -> str | None:
        """Return the directory of the database's Unix socket, if it is reached by one: postgresql:///name?host=/run/postgresql."""
        parts = urlsplit(self.database_url)
        if not parts.scheme.startswith("postgres"):
            return None
        host = parse_qs(parts.query).get("host", [unquote(parts.hostname or "")])[0]
        return host if host.startswith("/") else None if host else "/var/run/postgresql"

    @property
    def worker_socket(self) -> Path:
        return self.run_dir / "worker.sock"

    @property
    def code_store(self) -> Path:
        """Unpacked functions and layers: written by the server, shown to environments."""
        return self.data_dir / "code"

    def to_json(self) -> str:
        """Return all of it as JSON, for the processes that belong to us. Holds secrets."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        return _build(json.loads(text))


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """Return where data go when nobody says: /var/lib/lambdad for root, else the XDG data directory."""
    if os.geteuid() == 0:
        return Path("/var/lib/lambdad")
    base = environ.get("XDG_DATA_HOME") or f"{environ.get('HOME', '/tmp')}/.local/share"
    return Path(base) / "lambdad"


def load(given: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Settings:
    """
    Build the settings.

    Args:
        given: from the command line; None values count as not given. "config" names a TOML file.
        environ: the process's environment if None.

    Raises:
        BadSettings: a value is unknown, malformed, or unsafe (auth "open" on an address that others can reach).
    """
    environ = os.environ if environ is None else environ
    data_dir = default_data_dir(environ)
    values: dict[str, Any] = {"data_dir": data_dir, "runtimes_dir": data_dir / "runtimes"}
    config = given.get("config") or environ.get("LAMBDAD_CONFIG")
    if config:
        try:
            values |= tomllib.loads(Path(config).read_text())
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise BadSettings(f"cannot read {config}: {error}") from error
    names = {item.name for item in fields(Settings)}
    for name in names:
        if (value := environ.get(f"LAMBDAD_{name.upper()}")) is not None:
            values[name] = value
    values |= {name: value for name, value in given.items() if name in names and value is not None}
    if "host" in values and "auth" not in values and not is_loopback(str(values["host"])):
        values["auth"] = "iam"
    settings = _build(values)
    if settings.auth == "open" and not is_loopback(settings.host):
        raise BadSettings(f"auth 'open' would let anyone who reaches {settings.host} run code here: use --auth iam")
    return settings


def is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _build(values: Mapping[str, Any]) -> Settings:
    result: dict[str, Any] = {}
    for item in fields(Settings):
        if item.name not in values:
            continue
        result[item.name] = _convert(item.name, values[item.name], item.default)
    unknown = set(values) - {item.name for item in fields(Settings)}
    if unknown:
        raise BadSettings(f"unknown setting: {', '.join(sorted(unknown))}")
    for name in _NETWORKS & set(result):
        for network in result[name] if isinstance(result[name], tuple) else (result[name],):
            _check_network(name, network)
    choices = (
        ("auth", AuthMode),
        ("isolation", IsolationChoice),
        ("runtimes", RuntimeChoice),
        ("cpu", CpuChoice),
        ("egress", EgressChoice),
    )
    for name, choice in choices:
        if name in result and result[name] not in get_args(choice):
            raise BadSettings(f"{name} must be one of {', '.join(get_args(choice))}, not {result[name]!r}")
    return Settings(**result)


def _convert(name: str, value: Any, default: Any) -> Any:
    try:
        if name == "access_keys":
            return _access_keys(value)
        if name == "endpoints":
            return _endpoints(value)
        if name == "interpreter_dirs":
            return tuple(value.split(":")) if isinstance(value, str) else tuple(value)
        if name in _NETWORKS and isinstance(default, tuple):
            return tuple(one.strip() for one in value.split(",") if one.strip()) if isinstance(value, str) else tuple(value)
        if isinstance(default, Path):
            return Path(value).expanduser().absolute()
        if isinstance(default, int | float):
            number = type(default)(value)
            if number < 0:
                raise ValueError("negative")
            return number
    except (TypeError, ValueError) as error:
        raise BadSettings(f"{name} cannot be {value!r}: {error}") from error
    return value


def _check_network(name: str, network: Any) -> None:
    try:
        (ipaddress.ip_network if name in _BOTH_FAMILIES else ipaddress.IPv4Network)(network)
    except ValueError as error:
        raise BadSettings(f"{name} cannot be {network!r}: {error}") from error


def _endpoints(value: Any) -> dict[str, str]:
    if isinstance(value, str):
        pairs = [entry.partition("=") for entry in value.split(",") if entry.strip()]
        value = {name.strip(): url.strip() for name, _, url in pairs}
    endpoints = {}
    for service, url in dict(value).items():
        parts = urlsplit(url)
        if not re.fullmatch(r"[a-z0-9-]+", service) or parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an endpoint is service=http://host:port or service=https://key:secret@host")
        endpoints[service] = url
    return endpoints


def _access_keys(value: Any) -> tuple[AccessKey, ...]:
    if isinstance(value, str):
        value = [entry.split(":") for entry in value.split(",") if entry]
    keys = []
    for entry in value:
        if isinstance(entry, Mapping):
            keys.append(AccessKey(**entry))
        elif 2 <= len(entry) <= 3:
            keys.append(AccessKey(access_key_id=entry[0], secret_access_key=entry[1], account=(*entry, "000000000000")[2]))
        else:
            raise ValueError("an access key is id:secret or id:secret:account")
    return tuple(keys)
