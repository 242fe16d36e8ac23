"""Services that are elsewhere, called by botocore in threads.

Each endpoint has threads of its own, so that one that does not answer holds up nobody but itself; and calls that wait on purpose (long
polls, synchronous invocations) have others than those that do not. Where all threads are busy, calls wait in order.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from lambdad.kit.threads import Call, Crew
from lambdad.model.errors import AwsError
from lambdad.services.ports import Origin
from lambdad.wire import codec

THREADS = 8
WAITING_THREADS = 32
PENDING_MAX = 4096
CONNECT_S = 5
READ_S = 60
READ_WAITING_S = 910  # a synchronous invocation takes up to a quarter of an hour


class _Desk:
    """The botocore clients of one thread: making them is not safe among threads, and they are few."""

    def __init__(self, service: str, url: str, read_s: float) -> None:
        import botocore.config
        import botocore.session

        parts = urlsplit(url)
        self._service = service
        self._key = unquote(parts.username or "")
        self._secret = unquote(parts.password or "") or "lambdad"
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        netloc = f"{host}:{parts.port}" if parts.port else host
        self.url = urlunsplit((parts.scheme, netloc, parts.path, "", ""))
        self._session = botocore.session.Session()
        self._config = botocore.config.Config(
            connect_timeout=CONNECT_S,
            read_timeout=read_s,
            retries={"total_max_attempts": 1},  # who calls decides on retries
            s3={"addressing_style": "path"},
            parameter_validation=True,
        )
        self._clients: dict[tuple[str, str], Any] = {}

    def client(self, origin: Origin) -> Any:
        """Return the client for an account and region."""
        key = (origin.account, origin.region)
        found = self._clients.get(key)
        if found is None:
            found = self._clients[key] = self._session.create_client(
                self._service,
                region_name=origin.region,
                endpoint_url=self.url,
                aws_access_key_id=self._key or origin.account,
                aws_secret_access_key=self._secret,
                config=self._config,
            )
        return found

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.close()


class _Callers:
    """The job of an endpoint's threads."""

    def __init__(self, service: str, url: str, read_s: float) -> None:
        self._service = service
        self._url = url
        self._read_s = read_s

    def open(self) -> _Desk:
        return _Desk(self._service, self._url, self._read_s)

    def serve(self, state: _Desk, calls: Sequence[Call[_Desk]]) -> None:
        for call in calls:
            call.attempt(state)

    def close(self, state: _Desk) -> None:
        state.close()


class RemoteService:
    """A service at an endpoint."""

    def __init__(self, service: str, callers: Crew[_Desk, _Desk], waiting: Crew[_Desk, _Desk]) -> None:
        self._service = service
        self._callers = callers
        self._waiting = waiting

    async def call(self, origin: Origin, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """
        Call an operation.

        Raises:
            AwsError: what the service answers; ServiceUnavailable where it does not.
        """
        crew = self._waiting if waits(operation, params) else self._callers
        return await crew.call(lambda desk: _call(desk, self._service, origin, operation, params))


def waits(operation: str, params: Mapping[str, Any]) -> bool:
    """Say whether a call may take long though all is well."""
    if operation == "ReceiveMessage":
        return bool(params.get("WaitTimeSeconds", 1))  # what the queue itself says is not known
    return operation == "Invoke" and params.get("InvocationType") not in ("Event", "DryRun")


def _call(desk: _Desk, service: str, origin: Origin, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
    import botocore.exceptions
    from botocore import xform_name

    try:
        answer = getattr(desk.client(origin), xform_name(operation))(**_addressed(params, desk.url))
        headers = answer.pop("ResponseMetadata", None)
        del headers
        return {name: value.read() if hasattr(value, "read") else value for name, value in answer.items()}
    except botocore.exceptions.ClientError as error:
        raise _error(service, error.response) from error
    except botocore.exceptions.ParamValidationError as error:
        raise AwsError("ValidationException", str(error), status=400) from error
    except (botocore.exceptions.BotoCoreError, OSError) as error:
        raise AwsError("ServiceUnavailable", f"{service} at {desk.url} cannot be reached: {error}", status=503) from error


def _addressed(params: Mapping[str, Any], url: str) -> dict[str, Any]:
    """Say which queue is meant by its place at the endpoint, where it is named by AWS's."""
    changed = dict(params)
    parts = urlsplit(str(params.get("QueueUrl", "")))
    host = parts.hostname or ""
    if host.startswith("sqs.") and ".amazonaws.com" in host and ".amazonaws.com" not in url:
        changed["QueueUrl"] = url.rstrip("/") + parts.path
    return changed


def _error(service: str, response: Mapping[str, Any]) -> AwsError:
    told = response.get("Error", {})
    code = str(told.get("Code", "InternalFailure"))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
    members = {name: value for name, value in response.items() if name not in ("Error", "ResponseMetadata", "message", "Message")}
    error = AwsError(code, told.get("Message"), status=status if status >= 400 else 500, members=members)
    if service == "sqs":  # its older protocol had other names for its errors
        name, _ = codec.load(service).told(error)
        error = AwsError(name, error.message, status=error.status, members=members)
    return error


@contextlib.asynccontextmanager
async def connected(endpoints: Mapping[str, str]) -> AsyncIterator[dict[str, RemoteService]]:
    """
    Give the services that are elsewhere, by name.

    Args:
        endpoints: URLs by botocore's names of services.

    Resource handling: leaving waits for the calls under way, a long poll for up to 20 s.
    """
    async with contextlib.AsyncExitStack() as stack:
        services = {}
        for service, url in endpoints.items():
            crews = [
                await stack.enter_async_context(
                    Crew(name, _Callers(service, url, read_s), threads=threads, take_max=1, pending_max=PENDING_MAX)
                )
                for name, threads, read_s in (
                    (f"endpoint-{service}", THREADS, READ_S),
                    (f"endpoint-{service}-waiting", WAITING_THREADS, READ_WAITING_S),
                )
            ]
            services[service] = RemoteService(service, *crews)
        yield services
