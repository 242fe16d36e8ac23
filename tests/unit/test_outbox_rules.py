"""The outbox's decisions: retries, turns of lanes, dead letters, what is stored."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from lambdad.model.errors import AwsError
from lambdad.model.ids import AccountId, Region
from lambdad.services.outbox.delivery import DeadLetter, Delivery, decode, encode
from lambdad.services.outbox.rules import answers, dead_letters, retries
from lambdad.services.outbox.rules.lanes import LANE_CHARACTERS, lane_of
from lambdad.services.outbox.rules.retries import Condition, GiveUp, Retry
from lambdad.services.outbox.rules.turns import Turns
from lambdad.services.ports import Origin

ORIGIN = Origin(account=AccountId("000000000000"), region=Region("us-east-1"), principal="sns.amazonaws.com", source_arn="arn:aws:sns:::t")
BUSY = AwsError("ThrottlingException", "Rate exceeded", status=400)


def delivery(**changes: object) -> Delivery:
    members: dict[str, object] = {
        "origin": ORIGIN,
        "service": "sqs",
        "operation": "SendMessage",
        "params": {"QueueUrl": "u"},
        "maximum_attempts": 3,
        "maximum_age_s": 60,
    }
    return Delivery(**{**members, **changes})  # type: ignore[arg-type]  # names and types are those of Delivery


@pytest.mark.parametrize(
    ("error", "is_final"),
    [
        (AwsError("QueueDoesNotExist", "no", status=400), True),
        (AwsError("AccessDeniedException", "no", status=403), True),
        (AwsError("ResourceNotFoundException", "no", status=404), True),
        (AwsError("NotImplementedException", "no", status=501), True),
        (AwsError("ThrottlingException", "no", status=400), False),
        (AwsError("AWS.SimpleQueueService.RequestThrottled", "no", status=400), False),
        (AwsError("TooManyRequestsException", "no", status=429), False),
        (AwsError("ResourceConflictException", "Pending", status=409), False),
        (AwsError("RequestTimeout", "no", status=408), False),
        (AwsError("ServiceException", "no", status=500), False),
        (AwsError("ServiceUnavailable", "no", status=503), False),
    ],
)
def test_errors_that_cannot_change_are_final(error: AwsError, is_final: bool) -> None:
    """What the caller did wrong is not tried again; what the service could not do now is."""
    assert retries.is_final(error) == is_final


@given(
    attempts=st.integers(1, 400),
    maximum_attempts=st.integers(1, 400),
    age_ms=st.integers(0, 10**9),
    maximum_age_ms=st.integers(0, 10**9),
    jitter=st.floats(0, 1),
)
def test_retries_keep_to_their_bounds(attempts: int, maximum_attempts: int, age_ms: int, maximum_age_ms: int, jitter: float) -> None:
    """A retry is never one too many, never too late, and never more than five minutes away."""
    decision = retries.decide(
        BUSY, attempts=attempts, age_ms=age_ms, maximum_attempts=maximum_attempts, maximum_age_ms=maximum_age_ms, jitter=jitter
    )
    if isinstance(decision, Retry):
        assert attempts < maximum_attempts and age_ms + decision.delay_ms <= maximum_age_ms
        assert 100 <= decision.delay_ms <= retries.LAST_DELAY_MS
    else:
        assert decision.condition is (Condition.ATTEMPTS if attempts >= maximum_attempts else Condition.AGE)


def test_delays_grow_and_own_delays_are_kept() -> None:
    """The back-off doubles to five minutes; a delivery's own delays go before it, the last one repeated."""

    def delays(*own: int) -> list[int]:
        decisions = [
            retries.decide(BUSY, attempts=n, age_ms=0, maximum_attempts=99, maximum_age_ms=10**9, jitter=0, delays_ms=own)
            for n in range(1, 15)
        ]
        return [decision.delay_ms for decision in decisions if isinstance(decision, Retry)]

    assert delays()[:4] == [200, 400, 800, 1600] and delays()[-1] == 300_000
    assert delays(0, 20_000)[:3] == [0, 20_000, 20_000]
    final = retries.decide(AwsError("X", "no"), attempts=1, age_ms=0, maximum_attempts=9, maximum_age_ms=10**9, jitter=0)
    assert final == GiveUp(Condition.FINAL_ERROR)


def test_deliveries_survive_storage() -> None:
    """Bytes, datetimes and nested values come back as they went in."""
    params = {"Body": b"\x00\xff", "When": datetime(2025, 1, 2, 3, 4, 5, 678000, tzinfo=UTC), "L": [1, 2.5, None, {"x": "é"}]}
    letter = DeadLetter(queue_arn="arn:aws:sqs:us-east-1:000000000000:q", body="b", attributes={"A": {"DataType": "String"}})
    stored = delivery(params=params, dead_letter=letter, order_key="k", delays_ms=(1, 2), target="t")
    assert decode(encode(stored)) == stored


def test_dead_letters_say_what_went_wrong() -> None:
    """The queue is named by its URL, and what was asked for is in attributes."""
    letter = DeadLetter(
        queue_arn="arn:aws:sqs:eu-west-1:111122223333:dead",
        body="event",
        attributes={"RULE_ARN": {"DataType": "String", "StringValue": "r"}},
        error_code_attribute="ERROR_CODE",
        error_message_attribute="ERROR_MESSAGE",
        attempts_attribute="RETRY_ATTEMPTS",
        condition_attribute="EXHAUSTED_RETRY_CONDITION",
        error_codes={"ThrottlingException": "THROTTLING", "": "SDK_CLIENT_ERROR"},
        message_group_id="g",
    )
    made = dead_letters.delivery_for(delivery(), letter, error=BUSY, condition=Condition.ATTEMPTS, attempts=3)
    assert (made.service, made.operation, made.dead_letter) == ("sqs", "SendMessage", None)
    attributes = made.params.pop("MessageAttributes")  # type: ignore[attr-defined]  # a dict
    assert made.params == {
        "QueueUrl": "https://sqs.eu-west-1.amazonaws.com/111122223333/dead",
        "MessageBody": "event",
        "MessageGroupId": "g",
    }
    assert {name: value["StringValue"] for name, value in attributes.items()} == {
        "RULE_ARN": "r",
        "ERROR_CODE": "THROTTLING",
        "ERROR_MESSAGE": "Rate exceeded",
        "RETRY_ATTEMPTS": "2",
        "EXHAUSTED_RETRY_CONDITION": "MaximumRetryAttempts",
    }
    with pytest.raises(ValueError):
        dead_letters.queue_url("arn:aws:sns:us-east-1:000000000000:t")


@given(st.text(), st.integers(0, 50))
def test_texts_are_cut_between_characters(text: str, size_bytes: int) -> None:
    """What is cut is valid, short enough, and a beginning."""
    shortened = dead_letters.cut(text.replace("\ud800", ""), size_bytes)
    assert len(shortened.encode()) <= size_bytes and text.startswith(shortened)


def test_lanes_are_targets() -> None:
    """Deliveries to one queue share a lane; other queues, services and accounts have their own; names are bounded."""
    assert lane_of(delivery()) == lane_of(delivery(operation="SendMessageBatch"))
    others = [
        delivery(params={"QueueUrl": "v"}),
        delivery(service="lambda", params={"FunctionName": "u"}),
        delivery(target="w"),
        delivery(service="events", params={"Entries": [{"EventBusName": "b"}]}),
    ]
    assert len({lane_of(each) for each in [delivery(), *others]}) == 5
    assert lane_of(others[-1]).endswith(" b")
    long = lane_of(delivery(target="x\0" * 5000))
    assert len(long) == LANE_CHARACTERS and "\0" not in long


class TurnsKeepTheirBounds(RuleBasedStateMachine):
    """Random work over a few lanes, against the bounds and a list of what is where."""

    ROOM, WIDTH = 8, 4
    running = Bundle("running")

    def __init__(self) -> None:
        super().__init__()
        self.turns: Turns[int] = Turns(self.ROOM, self.WIDTH)
        self.waiting: dict[str, list[int]] = {}
        self.under_way: dict[str, int] = {}
        self.count = 0

    @rule(lane=st.sampled_from("abcdef"))
    def read(self, lane: str) -> None:
        """Put as many as are wanted."""
        for _ in range(self.turns.wanted(lane)):
            self.turns.put(lane, self.count)
            self.waiting.setdefault(lane, []).append(self.count)
            self.count += 1

    @rule(target=running)
    def take(self) -> str | None:
        """Start one: the one of its lane that waits longest."""
        taken = self.turns.take()
        if taken is None:
            return None
        lane, item = taken
        assert item == self.waiting[lane].pop(0)
        self.under_way[lane] = self.under_way.get(lane, 0) + 1
        return lane

    @rule(lane=consumes(running), ok=st.booleans())
    def done(self, lane: str | None, ok: bool) -> None:
        """End one."""
        if lane is not None:
            self.under_way[lane] -= 1
            self.turns.done(lane, ok=ok)

    @invariant()
    def bounds_hold(self) -> None:
        """Neither all lanes together nor one of them has too much; the counts are right."""
        assert self.turns.running == sum(self.under_way.values()) <= self.ROOM
        assert self.turns.held == self.turns.running + sum(map(len, self.waiting.values())) <= 2 * self.ROOM
        assert all(number <= self.WIDTH for number in self.under_way.values())
        failing = self.turns.narrowed()
        assert self.turns.running_of_failing == sum(n for lane, n in self.under_way.items() if lane in failing)


TestTurnsKeepTheirBounds = TurnsKeepTheirBounds.TestCase


def test_dead_lanes_leave_room() -> None:
    """However many targets hang after their first failure, a sound one is served at once."""
    turns: Turns[str] = Turns(16, 8)
    for number in range(100):
        lane = f"dead{number}"
        turns.put(lane, "x")
        assert turns.take() is not None
        turns.done(lane, ok=False)
    for number in range(100):
        lane = f"dead{number}"
        for _ in range(min(turns.wanted(lane), turns.room_for_failing())):
            turns.put(lane, "x")
    started = 0
    while turns.take() is not None:
        started += 1
    assert started == 8 and turns.held <= 16
    assert turns.wanted("sound") > 0
    turns.put("sound", "y")
    assert turns.take() == ("sound", "y")


def test_parts_that_failed_are_found() -> None:
    """An answer that says 200 and means no is an error of the part that failed, and as final as that is."""
    assert answers.failure_in("PutEvents", {"FailedEntryCount": 0, "Entries": [{"EventId": "e"}]}) is None
    assert answers.failure_in("SendMessage", {"MessageId": "m"}) is None
    cases = [
        ("PutEvents", {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure", "ErrorMessage": "x"}]}, False),
        ("PutEvents", {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "MalformedDetail", "ErrorMessage": "x"}]}, True),
        ("SendMessageBatch", {"Successful": [], "Failed": [{"Id": "1", "Code": "X", "SenderFault": False}]}, False),
        ("SendMessageBatch", {"Successful": [], "Failed": [{"Id": "1", "Code": "X", "SenderFault": True}]}, True),
        ("PutRecords", {"Records": [{"ErrorCode": "ProvisionedThroughputExceededException"}]}, False),
    ]
    for operation, answer, is_final in cases:
        error = answers.failure_in(operation, answer)
        assert error is not None and retries.is_final(error) == is_final
