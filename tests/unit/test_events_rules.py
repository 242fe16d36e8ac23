"""EventBridge's decisions as values: entries, inputs of targets, policies."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdad.machines import json_paths, target_calls
from lambdad.model.errors import AwsError
from lambdad.model.ids import AccountId, Region
from lambdad.services.events.rules import events, inputs, names, permissions, targets
from lambdad.services.events.rules.events import EntryRefused, Event
from lambdad.services.events.rules.names import BusKey, RuleKey

BUS = BusKey(AccountId("000000000000"), Region("us-east-1"), "default")
PLACE = ("000000000000", "us-east-1")
ARN = "arn:aws:events:us-east-1:000000000000:rule/r"
NOW_MS = 1_700_000_000_123
ENTRY = {"Source": "shop", "DetailType": "OrderPlaced", "Detail": "{}"}


def event(detail: Any = None, **more: Any) -> Event:
    read = events.read(
        {**ENTRY, "Detail": json.dumps(detail if detail is not None else {}), **more}, *PLACE, "id-1", NOW_MS, is_service=False
    )
    assert isinstance(read, Event)
    return read


def rendered(shown: Event, **target: Any) -> str | None:
    checked = {"Id": "t", "Arn": "arn:aws:lambda:us-east-1:000000000000:function:f", **target}
    inputs.check(checked)
    return inputs.render(checked, shown, "r", ARN)


def transformed(template: str, shown: Event, **paths: str) -> str | None:
    return rendered(shown, InputTransformer={"InputPathsMap": paths, "InputTemplate": template})


def test_an_event_has_aws_shape() -> None:
    """An event has AWS's members in AWS's order, and the detail as it was written."""
    read = events.read(
        {**ENTRY, "Detail": ' {"n": 1.00, "big": 12345678901234567890123} ', "Resources": ["arn:x"]},
        *PLACE,
        "id-1",
        NOW_MS,
        is_service=False,
    )
    assert isinstance(read, Event)
    assert read.text == (
        '{"version":"0","id":"id-1","detail-type":"OrderPlaced","source":"shop","account":"000000000000","time":"2023-11-14T22:13:20Z",'
        '"region":"us-east-1","resources":["arn:x"],"detail":{"n": 1.00, "big": 12345678901234567890123}}'
    )


@pytest.mark.parametrize(
    ("entry", "code", "message"),
    [
        ({"DetailType": "d", "Detail": "{}"}, "InvalidArgument", "Parameter Source is not valid. Reason: Source is a required argument."),
        (
            {"Source": "s", "Detail": "{}"},
            "InvalidArgument",
            "Parameter DetailType is not valid. Reason: DetailType is a required argument.",
        ),
        ({"Source": "s", "DetailType": "d"}, "InvalidArgument", "Parameter Detail is not valid. Reason: Detail is a required argument."),
        ({**ENTRY, "Detail": "{"}, "MalformedDetail", "Detail is malformed."),
        ({**ENTRY, "Detail": "[1]"}, "MalformedDetail", "Detail is malformed."),
        ({**ENTRY, "Detail": '{"a":' * 2000 + "1" + "}" * 2000}, "MalformedDetail", "Detail is malformed."),
        ({**ENTRY, "Source": "aws.ec2"}, "NotAuthorizedForSourceException", "Not authorized for the source."),
    ],
)
def test_entries_that_are_not_taken(entry: dict[str, Any], code: str, message: str) -> None:
    """An entry without what it needs has an error of its own."""
    assert events.read(entry, *PLACE, "id", NOW_MS, is_service=False) == EntryRefused(code, message)


def test_services_may_call_themselves_aws() -> None:
    """A neighbour service puts events whose source is AWS's."""
    assert isinstance(events.read({**ENTRY, "Source": "aws.s3"}, *PLACE, "id", NOW_MS, is_service=True), Event)


def test_a_replayed_event_names_its_replay() -> None:
    """What a replay sends is the event as it was, and the replay's name."""
    shown = event({"a": 1})
    again = events.replayed(shown.text, "again", shown.at_ms, NOW_MS + 5)
    assert json.loads(again.text) == {**json.loads(shown.text), "replay-name": "again"} == again.body


def test_inputs_without_a_template() -> None:
    """A target gets the event, a constant, or what a path finds."""
    shown = event({"items": ["a", {"b": 1}]})
    assert rendered(shown) == shown.text
    assert rendered(shown, Input='{"x":1}') == '{"x":1}'
    assert rendered(shown, InputPath="$") == json.dumps(shown.body, separators=(",", ":"))
    assert rendered(shown, InputPath="$.detail.items[1]") == '{"b":1}'
    assert rendered(shown, InputPath="$.source") == '"shop"'
    assert rendered(shown, InputPath="$.detail-type") == '"OrderPlaced"'
    assert rendered(shown, InputPath="$.detail.missing") == "null"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (
            '{"id": <id>, "n": <n>, "list": <list>, "map": <map>}',
            '{"id": "i-1", "n": 5, "list": ["ACTIVE","INACTIVE"], "map": {"a":"0a78"}}',
        ),
        ('{"text": "<id> is <flag>"}', '{"text": "i-1 is true"}'),
        ('"<id> of <list> and <map>"', '"i-1 of [ACTIVE,INACTIVE] and {a:0a78}"'),
        ('"one <id>"\n"two <n>"', '"one i-1"\n"two 5"'),
        ("<map>", '{"a":"0a78"}'),
        ("<id>", '"i-1"'),
        ('{"a": <missing>, "b": "<missing>"}', '{"a": "", "b": ""}'),
        ('{"a": "<list>"}', None),
        ("<list> text", None),
        ('{"a": "say \\"<id>\\""}', '{"a": "say \\"i-1\\""}'),
        ('{"a": "<quoted>"}', '{"a": "say \\"hi\\""}'),
        ('{"r": "<aws.events.rule-name>", "t": <aws.events.event.ingestion-time>}', '{"r": "r", "t": "2023-11-14T22:13:20Z"}'),
        ('{"arn": <aws.events.rule-arn>}', '{"arn": "' + ARN + '"}'),
    ],
)
def test_templates(template: str, expected: str | None) -> None:
    """Placeholders are JSON outside quotation marks and bare text within."""
    shown = event(
        {"id": "i-1", "n": 5, "flag": True, "list": ["ACTIVE", "INACTIVE"], "map": {"a": "0a78"}, "quoted": 'say "hi"'},
    )
    paths = {name: f"$.detail.{name}" for name in ("id", "n", "flag", "list", "map", "quoted", "missing")}
    assert transformed(template, shown, **paths) == expected


def test_the_whole_event_in_a_template() -> None:
    """AWS's variables for the event give it without its detail, or all of it."""
    shown = event({"a": 1})
    bare = {("detailType" if key == "detail-type" else key): value for key, value in shown.body.items() if key != "detail"}
    assert json.loads(transformed('{"e": <aws.events.event>}', shown) or "") == {"e": bare}
    assert json.loads(transformed('{"e": <aws.events.event.json>}', shown) or "") == {"e": shown.body}


def test_what_is_nested_too_deeply_to_be_written_is_not_sent() -> None:
    """An event may be nested deeper than a part of it can be written again; as a whole it is sent as it came."""
    detail = '{"a":' * 990 + "1" + "}" * 990
    shown = events.read({**ENTRY, "Detail": detail}, *PLACE, "id-1", NOW_MS, is_service=False)
    assert isinstance(shown, Event)
    assert rendered(shown) == shown.text
    assert rendered(shown, InputPath="$.detail.a.a") is None
    assert transformed('{"x": <x>}', shown, x="$.detail") is None


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"Input": "{}", "InputPath": "$"}, "Only one of Input, InputPath, or InputTransformer must be provided for target t."),
        ({"Input": "{"}, "JSON syntax error in input for target t."),
        ({"Input": "[" * 4000 + "]" * 4000}, "JSON syntax error in input for target t."),
        ({"InputPath": "detail"}, "InputPath for target t is invalid."),
        (
            {"InputTransformer": {"InputPathsMap": {"a": "$.a"}, "InputTemplate": "<b>"}},
            "InputTemplate for target t contains invalid placeholder b.",
        ),
        (
            {"InputTransformer": {"InputPathsMap": {"a": "a"}, "InputTemplate": "<a>"}},
            "InputPathsMap for target t contains invalid path a.",
        ),
        (
            {"InputTransformer": {"InputPathsMap": {"a b": "$"}, "InputTemplate": '"x"'}},
            "InputPathsMap for target t contains invalid key a b.",
        ),
    ],
)
def test_inputs_that_cannot_be_used(target: dict[str, Any], message: str) -> None:
    """What a target could never be sent is refused when it is put."""
    with pytest.raises(inputs.InvalidInput, match=message.replace(".", r"\.")):
        inputs.check({"Id": "t", **target})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(), lambda below: st.lists(below) | st.dictionaries(st.text(), below)
    )
)
def test_values_outside_quotation_marks_stay_json(value: Any) -> None:
    """Whatever a placeholder outside quotation marks finds, the outcome is JSON with that value."""
    assert json.loads(inputs.fill('{"v": <v>}', lambda name: value) or "") == {"v": value}


@given(st.text())
def test_texts_within_quotation_marks_stay_json(value: str) -> None:
    """Whatever text a placeholder within quotation marks finds, the outcome is JSON with that text."""
    assert json.loads(inputs.fill('{"v": "a<v>b"}', lambda name: value) or "") == {"v": f"a{value}b"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [("$", {"a": [{"b": 1}, {"c": 2}, {"b": 3}], "d e": 4}), ("$.a[0].b", 1), ("$['d e']", 4), ("$.a[*].b", [1, 3]), ("$.a[*]['c']", [2])],
)
def test_paths(path: str, expected: Any) -> None:
    """A path finds fields, elements, and all elements."""
    assert json_paths.find({"a": [{"b": 1}, {"c": 2}, {"b": 3}], "d e": 4}, json_paths.parse(path)) == expected


@pytest.mark.parametrize("path", ["$.x", "$.a[9]", "$.a.b", "$[0]", "$.d[*]"])
def test_paths_to_nothing(path: str) -> None:
    """A path to nothing is told apart from a null."""
    with pytest.raises(json_paths.Missing):
        json_paths.find({"a": [1]}, json_paths.parse(path))


@pytest.mark.parametrize("path", ["", "a", "$a", "$.", "$..a", "$[", "$[-1]", "$[a]", "$.a[", "$.a b"])
def test_what_is_no_path(path: str) -> None:
    """What is not understood is refused."""
    with pytest.raises(json_paths.InvalidPath):
        json_paths.parse(path)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"Arn": "x"}, "Parameter x is not valid. Reason: Provided Arn is not in correct format."),
        (
            {"Arn": "arn:aws:ecs:us-east-1:000000000000:cluster/c"},
            "Parameter arn:aws:ecs:us-east-1:000000000000:cluster/c is not valid. Reason: lambdad does not deliver events to this target.",
        ),
        ({"Arn": "arn:aws:sqs:us-east-1:000000000000:q.fifo"}, "Parameter(s) SqsParameters must be specified for target: t."),
        ({"Arn": "arn:aws:sqs:us-east-1:000000000000:q", "EcsParameters": {}}, "Parameter(s) EcsParameters not valid for target t."),
        (
            {"Arn": "arn:aws:sns:us-east-1:000000000000:t", "SqsParameters": {"MessageGroupId": "g"}},
            "Parameter(s) SqsParameters not valid for target t.",
        ),
    ],
)
def test_targets_that_cannot_be(target: dict[str, Any], message: str) -> None:
    """What nothing delivers to is refused when it is put."""
    with pytest.raises(AwsError) as caught:
        targets.check({"Id": "t", **target})
    assert (caught.value.code, caught.value.message) == ("ValidationException", message)


def test_calls_of_targets() -> None:
    """Each kind of target is called by its service's operation."""

    def call(resource: str, **options: Any) -> tuple[str, str, Any]:
        found = target_calls.of_target(f"arn:aws:{resource}", "text", **options)
        return found.service, found.operation, found.params

    function = "lambda:eu-west-1:000000000000:function:f:live"
    assert call(function) == (
        "lambda",
        "Invoke",
        {"FunctionName": f"arn:aws:{function}", "InvocationType": "Event", "Payload": b"text"},
    )
    queue = {"QueueUrl": "https://sqs.us-east-1.amazonaws.com/000000000000/q.fifo", "MessageBody": "text", "MessageGroupId": "g"}
    assert call("sqs:us-east-1:000000000000:q.fifo", group="g") == ("sqs", "SendMessage", queue)
    topic = "sns:us-east-1:000000000000:t"
    assert call(topic) == ("sns", "Publish", {"TopicArn": f"arn:aws:{topic}", "Message": "text"})
    logged = {"logGroupName": "/aws/events/x", "logStreamName": "s", "logEvents": [{"timestamp": 5, "message": "text"}]}
    assert call("logs:us-east-1:000000000000:log-group:/aws/events/x:*", at_ms=5, unique="s") == ("logs", "PutLogEvents", logged)


def test_arns() -> None:
    """The default bus is not named in its rules' ARNs; others are."""
    custom = BusKey(BUS.account, BUS.region, "a/b")
    for key in (RuleKey(BUS, "r"), RuleKey(custom, "r")):
        assert names.with_tags(names.rule_arn(key)) == key
    assert names.rule_arn(RuleKey(BUS, "r")) == ARN
    assert names.with_tags(names.bus_arn(custom)) == custom == names.bus_key(BUS.account, BUS.region, names.bus_arn(custom))
    assert names.with_tags("arn:aws:events:us-east-1:000000000000:archive/a") is None
    assert names.parse_token(names.token("näme")) == "näme"


def test_policies() -> None:
    """Statements are added, replaced by their ids, and removed; the last one takes the policy with it."""
    put = permissions.put(None, BUS, {"StatementId": "a", "Action": "events:PutEvents", "Principal": "111122223333"})
    assert json.loads(put)["Statement"] == [
        {
            "Sid": "a",
            "Effect": "Allow",
            "Principal": {"AWS": "arn:aws:iam::111122223333:root"},
            "Action": "events:PutEvents",
            "Resource": "arn:aws:events:us-east-1:000000000000:event-bus/default",
        }
    ]
    condition = {"Type": "StringEquals", "Key": "aws:PrincipalOrgID", "Value": "o-1"}
    again = permissions.put(put, BUS, {"StatementId": "a", "Action": "events:PutEvents", "Principal": "*", "Condition": condition})
    (statement,) = json.loads(again)["Statement"]
    assert statement["Principal"] == "*" and statement["Condition"] == {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}
    assert permissions.remove(again, {"StatementId": "a"}) is None
    assert permissions.remove(again, {"RemoveAllPermissions": True}) is None
    for policy, request in ((again, {"StatementId": "b"}), (None, {"StatementId": "a"}), (again, {})):
        with pytest.raises(AwsError):
            permissions.remove(policy, request)
    nested = '{"Statement":[' + '{"a":' * 500 + "1" + "}" * 500 + "]}"
    for bad in ({"Policy": nested}, {"Policy": "{"}, {"Policy": "[]"}, {"StatementId": "a"}, {"Policy": "{}", "StatementId": "a"}):
        with pytest.raises(AwsError):
            permissions.put(None, BUS, bad)
