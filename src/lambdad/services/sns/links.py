"""Answers the links in messages: the certificate that verifies signatures, and what confirms or ends a subscription.

They work without a signature, for whoever has the link. `app/` sends requests here whose paths begin with `notifications.PATH`.
"""

from collections.abc import Callable, Mapping
from typing import Final

from lambdad.kit import http1
from lambdad.model.errors import AwsError
from lambdad.model.ids import AccountId, Region, RequestId
from lambdad.services.ports import CallContext, Handler
from lambdad.services.sns import errors
from lambdad.services.sns.rules import names
from lambdad.services.sns.rules.notifications import PATH
from lambdad.services.sns.signing import Signer
from lambdad.wire import codec
from lambdad.wire.http import Request, Response

_METHODS: Final = ("GET", "HEAD")


class Links:
    """The links.

    Args:
        handlers: of the operations that links ask for, ConfirmSubscription and Unsubscribe.
        new_id: makes request ids.
    """

    def __init__(self, signer: Signer, handlers: Mapping[str, Handler], new_id: Callable[[], str]) -> None:
        self._signer = signer
        self._handlers = handlers
        self._new_id = new_id

    async def answer(self, request: http1.Request) -> http1.Response:
        """Answer a request whose path begins with `PATH`."""
        if request.method not in _METHODS:
            return http1.Response(405, [("allow", "GET, HEAD")])
        path, _, query = request.target.partition("?")
        name = path.removeprefix(PATH)
        if not name:
            response = await self._carry_out(query)
            body = response.body if isinstance(response.body, bytes) else b""
            return http1.Response(response.status, [*response.headers, ("cache-control", "no-store")], body)
        await self._signer.ready()
        if name != self._signer.certificate_name:
            return http1.Response(404, [("content-type", "application/json")], b'{"message":"Not Found"}')
        return http1.Response(200, [("content-type", "application/x-pem-file")], self._signer.certificate)

    async def _carry_out(self, query: str) -> Response:
        """Do what a link says, in the Query protocol."""
        request_id = RequestId(self._new_id())
        sns = codec.load("sns")
        request = Request("GET", "/", query, {}, b"")
        try:
            call = sns.match(request)
        except AwsError as error:
            return sns.refuse(error, request_id, request)
        try:
            handler = self._handlers.get(call.operation)
            if handler is None:
                raise errors.AuthorizationError("anonymous", call.operation, "*")
            params = call.parse()
            call.validate(params)
            arn = params["TopicArn"] if "TopicArn" in params else params["SubscriptionArn"]
            named = names.parse_topic(arn) if "TopicArn" in params else names.parse_subscription(arn)
            context = CallContext(account=AccountId(named.account), region=Region(named.region), request_id=request_id, principal_arn="")
            return call.respond(await handler(context, params), request_id)
        except AwsError as error:
            return call.respond_error(error, request_id)
