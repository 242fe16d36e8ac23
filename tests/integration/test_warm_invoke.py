"""What an invocation needs of the database: nothing."""

from pathlib import Path

from lambda_house import CONTEXT, open_house

from lambdad.app.neighbours import Neighbourhood
from lambdad.model.invocation import Invocation, Outcome
from lambdad.server.request_ids import RequestIds
from lambdad.services.lambda_.async_events import AsyncEvents
from lambdad.services.lambda_.invoke import Invocations, Invoker
from lambdad.services.outbox import Outbox
from lambdad.store.database import Database, sqlite_url


class Runner:
    """A data plane that answers at once, and remembers."""

    def __init__(self) -> None:
        self.seen: list[Invocation] = []

    async def invoke(self, invocation: Invocation, unreserved_limit: int) -> Outcome:
        self.seen.append(invocation)
        return Outcome(payload=b"1", function_error="", error_type="", tail=b"", duration_ms=1, billed_ms=1, init_ms=0, max_memory_mib=1)


async def test_an_invocation_runs_no_sql(tmp_path: Path) -> None:
    """Names, versions, aliases, weights and reservations are resolved from memory; an Event is one write."""
    async with open_house(sqlite_url(tmp_path / "db")) as house:
        await house.create_settled()
        await house.call("PublishVersion", FunctionName="f")
        await house.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")
        database: Database = house.registry._database
        runner = Runner()
        invoker = Invoker(house.registry, runner, 1000, lambda: 0)
        outbox = Outbox(database, Neighbourhood({}, RequestIds(), ""), lambda: 0)
        invocations = Invocations(invoker, AsyncEvents(database, invoker, outbox, lambda: 0, new_id=lambda: "id"))
        before = database.statistics()
        for qualifier in ("$LATEST", "1", "live"):
            answer = await invocations.invoke(CONTEXT, {"FunctionName": "f", "Qualifier": qualifier, "Payload": b"{}"})
            assert answer["StatusCode"] == 200
        assert [seen.version.version for seen in runner.seen] == ["$LATEST", "1", "1"]
        after = database.statistics()
        assert (after.reads, after.writes) == (before.reads, before.writes)
        await invocations.invoke(CONTEXT, {"FunctionName": "f", "InvocationType": "Event"})
        accepted = database.statistics()
        assert (accepted.reads, accepted.writes) == (before.reads, before.writes + 1)
