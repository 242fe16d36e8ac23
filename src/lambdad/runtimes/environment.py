"""The environment variables of a function: AWS's reserved ones, its defaults, the customer's. Pure.

Source: Lambda Developer Guide, "Defined runtime environment variables"; values as observed in the service.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from lambdad.runtimes.catalogue import Family, Runtime

RESERVED = frozenset(
    (
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_LAMBDA_RUNTIME_API",
        "LAMBDA_TASK_ROOT",
        "LAMBDA_RUNTIME_DIR",
        "AWS_LAMBDA_MAX_CONCURRENCY",
        "AWS_LAMBDA_METADATA_API",
        "AWS_LAMBDA_METADATA_TOKEN",
    )
)
"""Names that a customer cannot set."""

NOT_FOR_EXTENSIONS = frozenset(
    (
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_XRAY_CONTEXT_MISSING",
        "AWS_XRAY_DAEMON_ADDRESS",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
        "_AWS_XRAY_DAEMON_ADDRESS",
        "_AWS_XRAY_DAEMON_PORT",
        "_HANDLER",
    )
)
"""Names that the runtime has and extensions do not."""

_XRAY_HOST, _XRAY_PORT = "169.254.100.1", "2000"
_LIBRARIES = "/lib64:/usr/lib64:{runtime}:{runtime}/lib:{task}:{task}/lib:/opt/lib"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Of the execution role. The token may be "" in open mode."""

    access_key_id: str
    secret_access_key: str
    session_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the platform knows of one environment and tells it by reserved variables.

    Args:
        memory_mib: 128..10_240.
        log_format: ``Text`` or ``JSON``; the level goes with JSON only.
        runtime_api: host and port, without a scheme.
        credentials_uri, credentials_token: where credentials are served and what opens them, for SnapStart: what is restored later
            would have stale ones in its variables. There are no log names in them either, since each environment has its own.
        endpoint_url: where AWS's services are for this function; "" leaves the SDK's own choice.
    """

    handler: str
    region: str
    function_name: str
    version: str
    memory_mib: int
    log_group: str
    log_stream: str
    initialization_type: str = "on-demand"
    log_format: str = "Text"
    application_log_level: str = ""
    runtime_api: str = "127.0.0.1:9001"
    endpoint_url: str = ""
    task_root: str = "/var/task"
    runtime_dir: str = "/var/runtime"
    credentials: Credentials | None = None
    credentials_uri: str = ""
    credentials_token: str = ""


def defaults(runtime: Runtime, *, task_root: str = "/var/task", runtime_dir: str = "/var/runtime") -> dict[str, str]:
    """Return the variables that a customer may replace, for a runtime that lies where AWS puts it."""
    managed = runtime.family is not Family.PROVIDED
    libraries = _LIBRARIES.format(task=task_root, runtime=runtime_dir)
    variables = {
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PATH": ("/var/lang/bin:" if managed else "") + "/usr/local/bin:/usr/bin/:/bin:/opt/bin",
        "LD_LIBRARY_PATH": ("/var/lang/lib:" if managed else "") + libraries,
        "PWD": task_root,
        "SHLVL": "0",
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": f"{_XRAY_HOST}:{_XRAY_PORT}",
        "_AWS_XRAY_DAEMON_ADDRESS": _XRAY_HOST,
        "_AWS_XRAY_DAEMON_PORT": _XRAY_PORT,
    }
    if runtime.family is Family.PYTHON:
        variables["PYTHONPATH"] = runtime_dir
        variables["PYTHONDONTWRITEBYTECODE"] = "1"  # ours: the code is read-only, attempts to write would only cost time
    elif runtime.family is Family.NODEJS:
        variables["NODE_PATH"] = (
            f"/opt/nodejs/node{runtime.version[0]}/node_modules:/opt/nodejs/node_modules:"
            f"{runtime_dir}/node_modules:{runtime_dir}:{task_root}"
        )
    elif runtime.family is Family.RUBY:
        version = ".".join(map(str, (*runtime.version, 0)))
        variables["GEM_HOME"] = runtime_dir
        variables["GEM_PATH"] = f"{task_root}/vendor/bundle/ruby/{version}:/opt/ruby/gems/{version}"
        variables["RUBYLIB"] = f"{task_root}:{runtime_dir}/lib:/opt/ruby/lib"
    return variables


def reserved(runtime: Runtime, facts: Facts) -> dict[str, str]:
    """Return the variables that only the platform sets."""
    variables = {
        "_HANDLER": facts.handler,
        "AWS_REGION": facts.region,
        "AWS_DEFAULT_REGION": facts.region,
        "AWS_LAMBDA_FUNCTION_NAME": facts.function_name,
        "AWS_LAMBDA_FUNCTION_VERSION": facts.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(facts.memory_mib),
        "AWS_LAMBDA_INITIALIZATION_TYPE": facts.initialization_type,
        "AWS_LAMBDA_LOG_GROUP_NAME": facts.log_group,
        "AWS_LAMBDA_LOG_STREAM_NAME": facts.log_stream,
        "AWS_LAMBDA_RUNTIME_API": facts.runtime_api,
        "LAMBDA_TASK_ROOT": facts.task_root,
        "LAMBDA_RUNTIME_DIR": facts.runtime_dir,
    }
    if runtime.family is not Family.PROVIDED:
        variables["AWS_EXECUTION_ENV"] = f"AWS_Lambda_{runtime.name}"
    if facts.log_format == "JSON":
        variables["AWS_LAMBDA_LOG_FORMAT"] = "JSON"
        variables["AWS_LAMBDA_LOG_LEVEL"] = facts.application_log_level or "INFO"
    if facts.initialization_type == "snap-start":
        del variables["AWS_LAMBDA_LOG_GROUP_NAME"], variables["AWS_LAMBDA_LOG_STREAM_NAME"]
    if facts.credentials_uri:
        variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = facts.credentials_uri
        variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = facts.credentials_token
    elif facts.credentials is not None:
        variables["AWS_ACCESS_KEY_ID"] = facts.credentials.access_key_id
        variables["AWS_SECRET_ACCESS_KEY"] = facts.credentials.secret_access_key
        if facts.credentials.session_token:
            variables["AWS_SESSION_TOKEN"] = facts.credentials.session_token
    return variables


def build(runtime: Runtime, facts: Facts, customer: Mapping[str, str], given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the whole environment of a function.

    Args:
        customer: the function's own variables. They replace defaults; reserved names among them are ignored.
        given: the defaults, where they are not `defaults` (a plan knows its own).

    Returns:
        A new dict, in an order that means nothing.
    """
    start = dict(given) if given is not None else defaults(runtime)
    if facts.endpoint_url:
        start["AWS_ENDPOINT_URL"] = facts.endpoint_url
    own = {name: value for name, value in customer.items() if name not in RESERVED}
    return {**start, **own, **reserved(runtime, facts)}


def for_extension(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what an extension sees of its function's environment."""
    return {name: value for name, value in environment.items() if name not in NOT_FOR_EXTENSIONS}
