"""Resource policies: the exact JSON, and what is refused."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdad.model import limits
from lambdad.model.errors import AwsError
from lambdad.services.lambda_.rules import policies
from lambdad.services.lambda_.rules.policies import Grant

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"


def written(**grant: Any) -> str:
    """Write a statement as it is answered."""
    settings = {"sid": "s", "principal": "*", "action": "lambda:InvokeFunction", **grant}
    return policies.compact(policies.statement(Grant(**settings), ARN, "us-east-1"))


def refused(code: str, message: str) -> Any:
    return pytest.raises(AwsError, match=f"^{code}: {message}$")


@pytest.mark.parametrize(
    ("principal", "shown"),
    [
        ("s3.amazonaws.com", '{"Service":"s3.amazonaws.com"}'),
        ("events.amazonaws.com.cn", '{"Service":"events.amazonaws.com.cn"}'),
        ("alexa-appkit.amazon.com", '{"Service":"alexa-appkit.amazon.com"}'),
        ("logs.us-east-1.amazonaws.com", '{"Service":"logs.us-east-1.amazonaws.com"}'),
        ("123456789012", '{"AWS":"arn:aws:iam::123456789012:root"}'),
        ("arn:aws:iam::123456789012:role/path/r", '{"AWS":"arn:aws:iam::123456789012:role/path/r"}'),
        ("arn:aws:sts::123456789012:assumed-role/r/s", '{"AWS":"arn:aws:sts::123456789012:assumed-role/r/s"}'),
        ("*", '"*"'),
    ],
)
def test_principals(principal: str, shown: str) -> None:
    """Services, accounts, ARNs and everybody are written each in its own way."""
    assert written(principal=principal) == (
        f'{{"Sid":"s","Effect":"Allow","Principal":{shown},"Action":"lambda:InvokeFunction","Resource":"{ARN}"}}'
    )


def test_principals_follow_the_partition() -> None:
    """An account id in China is a root ARN in China."""
    grant = Grant(sid="s", principal="123456789012", action="lambda:InvokeFunction")
    assert policies.statement(grant, ARN, "cn-north-1")["Principal"] == {"AWS": "arn:aws-cn:iam::123456789012:root"}


@pytest.mark.parametrize(
    "principal", ["", "me", "12345678901", "invalid.nonaws.com", "arn:aws:s3:::b", "arn:aws:iam::123456789012:role/*", "a.amazonaws.com/x"]
)
def test_bad_principals(principal: str) -> None:
    """AWS has one text for all that is no principal."""
    with refused("InvalidParameterValueException", "The provided principal was invalid. Please check the principal and try again."):
        written(principal=principal)


def test_conditions_come_in_their_order() -> None:
    """All conditions at once: operators and keys in the order in which AWS writes them."""
    shown = json.loads(
        written(
            action="lambda:InvokeFunctionUrl",
            source_arn="arn:aws:s3:::b",
            source_account="123456789012",
            event_source_token="t",
            function_url_auth_type="NONE",
            principal_org_id="o-1234567890",
        )
    )
    assert list(shown) == ["Sid", "Effect", "Principal", "Action", "Resource", "Condition"]
    assert policies.compact(shown["Condition"]) == (
        '{"StringEquals":{"AWS:SourceAccount":"123456789012","lambda:EventSourceToken":"t",'
        '"lambda:FunctionUrlAuthType":"NONE","aws:PrincipalOrgID":"o-1234567890"},'
        '"ArnLike":{"AWS:SourceArn":"arn:aws:s3:::b"}}'
    )
    assert json.loads(written(invoked_via_function_url=True))["Condition"] == {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}


def test_conditions_go_with_actions() -> None:
    """Each of the two conditions of function URLs belongs to one action."""
    with refused("InvalidParameterValueException", "FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action"):
        written(function_url_auth_type="NONE")
    with refused("InvalidParameterValueException", "InvokedViaFunctionUrl is only supported for lambda:InvokeFunction action"):
        written(action="lambda:InvokeFunctionUrl", invoked_via_function_url=True)


def statement(sid: str, **more: Any) -> policies.Statement:
    return policies.statement(Grant(sid=sid, principal="*", action="lambda:InvokeFunction", **more), ARN, "us-east-1")


def test_add_and_remove() -> None:
    """Statements stay in the order in which they came; with the last one the policy is gone."""
    one = policies.add(None, statement("a"))
    assert one == '{"Version":"2012-10-17","Id":"default","Statement":[' + policies.compact(statement("a")) + "]}"
    two = policies.add(one, statement("b"))
    assert [each["Sid"] for each in json.loads(two)["Statement"]] == ["a", "b"]
    with refused(
        "ResourceConflictException",
        r"The statement id \(a\) provided already exists. Please provide a new statement id, or remove the existing statement.",
    ):
        policies.add(two, statement("a"))
    with refused("ResourceNotFoundException", "Statement c is not found in resource policy."):
        policies.remove(two, "c")
    assert policies.remove(two, "b") == one
    assert policies.remove(one, "a") is None
    with refused("ResourceNotFoundException", "No policy is associated with the given resource."):
        policies.remove(None, "a")


def test_length_is_limited() -> None:
    """20,480 bytes is all that a policy may have, counted in UTF-8."""
    document: str | None = None
    with pytest.raises(AwsError, match="PolicyLengthExceededException") as caught:
        for number in range(1000):
            document = policies.add(document, statement(f"s{number}", source_arn="arn:aws:s3:::" + "é" * 1000))
    assert document is not None
    assert len(document.encode()) <= limits.POLICY_BYTES
    assert caught.value.message is not None
    assert caught.value.message.endswith("is bigger than the limit (20480).")


WHOLE = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "lambda:*", "Resource": ARN}]}


def test_whole_policies() -> None:
    """A whole document is kept as it was written, and later statements are added to it."""
    text = json.dumps(WHOLE, indent=1)
    assert policies.checked(text) == text
    added = json.loads(policies.add(text, statement("a")))
    assert added == {**WHOLE, "Statement": [WHOLE["Statement"][0], statement("a")]}
    single = json.dumps({**WHOLE, "Statement": WHOLE["Statement"][0]})
    assert len(json.loads(policies.add(policies.checked(single), statement("a")))["Statement"]) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"Version": "2020-01-01"},
        {"Statement": []},
        {"Statement": None},
        {"Statement": ["x"]},
        {"Statement": [{"Effect": "Maybe"}]},
        {"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*"}]},
        {"Statement": [{"Sid": "a", "Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}] * 2},
    ],
)
def test_what_is_no_policy_is_refused(change: dict[str, Any]) -> None:
    """What could not be evaluated later is not stored."""
    with pytest.raises(AwsError, match="InvalidParameterValueException: The policy is not valid"):
        policies.checked(json.dumps({**WHOLE, **change}))


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "[" * 20_000])
def test_what_is_no_json_is_refused(text: str) -> None:
    """Garbage is answered with AWS's kind of error, however it is nested."""
    with pytest.raises(AwsError, match="InvalidParameterValueException"):
        policies.checked(text)


def layer_policy(**grant: Any) -> str:
    made = Grant(**{"sid": "s", "principal": "*", "action": "lambda:GetLayerVersion", **grant})
    return policies.add(None, policies.statement(made, "arn:aws:lambda:us-east-1:000000000000:layer:l:1", "us-east-1"))


def test_layers_are_shared_with_whom_the_policy_names() -> None:
    """Everybody, or an account; an organization is nobody that we know."""
    friend, stranger = "111111111111", "222222222222"
    assert policies.may_get_layer_version(layer_policy(), stranger)
    assert policies.may_get_layer_version(layer_policy(principal=friend), friend)
    assert policies.may_get_layer_version(layer_policy(principal=f"arn:aws:iam::{friend}:root"), friend)
    assert not policies.may_get_layer_version(layer_policy(principal=friend), stranger)
    assert not policies.may_get_layer_version(layer_policy(principal_org_id="o-1234567890"), friend)
    assert not policies.may_get_layer_version(None, friend)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcdef")), max_size=20))
def test_policy_is_a_set_of_statements(steps: list[tuple[bool, str]]) -> None:
    """Any sequence of adding and removing leaves what a dict would hold."""
    document: str | None = None
    model: dict[str, bool] = {}
    for is_add, sid in steps:
        try:
            document = policies.add(document, statement(sid)) if is_add else policies.remove(document, sid)
        except AwsError as error:
            assert (sid in model) == is_add
            assert error.status in (404, 409)
            continue
        if is_add:
            model[sid] = True
        else:
            del model[sid]
    shown = [each["Sid"] for each in json.loads(document)["Statement"]] if document is not None else []
    assert shown == list(model)
