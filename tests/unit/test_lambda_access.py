"""Whether resource policies let services invoke functions."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdad.services.lambda_.rules import access, policies
from lambdad.services.lambda_.rules.access import Verdict

FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"
TOPIC = "arn:aws:sns:us-east-1:111122223333:topic"
VALUES = {"aws:sourcearn": TOPIC, "aws:sourceaccount": "111122223333", "aws:principalservicename": "sns.amazonaws.com"}
ALLOW = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "lambda:InvokeFunction", "Resource": FUNCTION}


def judged(*statements: dict[str, Any], principal: str = "sns.amazonaws.com", resource: str = FUNCTION, **values: str) -> Verdict:
    document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    return access.evaluate(
        [document],
        principal=principal,
        action=access.INVOKE_FUNCTION,
        resource=resource,
        values={**VALUES, **{f"aws:{name.lower()}": value for name, value in values.items()}},
    )


def on(condition: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**ALLOW, "Condition": condition, **changes}


@pytest.mark.parametrize(
    ("changes", "is_allowed"),
    [
        ({}, True),
        ({"Principal": "*"}, True),
        ({"Principal": {"AWS": "*"}}, True),
        ({"Principal": {"Service": ["s3.amazonaws.com", "sns.amazonaws.com"]}}, True),
        ({"Principal": {"Service": "s3.amazonaws.com"}}, False),
        ({"Principal": {"Service": "sns.us-east-1.amazonaws.com"}}, True),
        ({"Principal": {"Service": "sns.eu-west-1.amazonaws.com"}}, False),
        ({"Principal": {"AWS": "arn:aws:iam::111122223333:root"}}, False),
        ({"Action": "lambda:*"}, True),
        ({"Action": "*"}, True),
        ({"Action": ["lambda:GetFunction", "LAMBDA:invokefunction"]}, True),
        ({"Action": "lambda:InvokeFunctionUrl"}, False),
        ({"Resource": "*"}, True),
        ({"Resource": FUNCTION + ":*"}, False),
        ({"Resource": FUNCTION + ":live"}, False),
        ({"Condition": {"ArnLike": {"AWS:SourceArn": TOPIC}}}, True),
        ({"Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:sns:*:*:top*"}}}, True),
        ({"Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:*"}}}, False),
        ({"Condition": {"ArnEquals": {"aws:SourceArn": [TOPIC + "x", TOPIC]}}}, True),
        ({"Condition": {"ArnLike": {"aws:SourceArn": TOPIC + "x"}}}, False),
        ({"Condition": {"StringLike": {"aws:SourceArn": "arn:aws:sns:*"}}}, True),
        ({"Condition": {"StringEquals": {"aws:SourceAccount": "111122223333"}, "ArnLike": {"aws:SourceArn": TOPIC}}}, True),
        ({"Condition": {"StringEquals": {"aws:SourceAccount": "999999999999"}, "ArnLike": {"aws:SourceArn": TOPIC}}}, False),
        ({"Condition": {"StringNotEquals": {"aws:SourceAccount": "999999999999"}}}, True),
        ({"Condition": {"StringNotEquals": {"aws:SourceAccount": "111122223333"}}}, False),
        ({"Condition": {"StringEquals": {"lambda:EventSourceToken": "t"}}}, False),
        ({"Condition": {"StringEqualsIfExists": {"lambda:EventSourceToken": "t"}}}, True),
        ({"Condition": {"Null": {"aws:SourceArn": "false"}}}, True),
        ({"Condition": {"Null": {"aws:SourceArn": "true"}}}, False),
        ({"Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}}, False),
        ({"Condition": {"StringNotEquals": {"aws:PrincipalOrgID": "o-1"}}}, False),
        ({"Condition": {"StringLike": {"aws:SourceArn": "${aws:SourceArn}"}}}, False),
        ({"Condition": {"ForAnyValue:StringEquals": {"aws:SourceAccount": "111122223333"}}}, False),
    ],
)
def test_an_allow_is_read_as_awss(changes: dict[str, Any], is_allowed: bool) -> None:
    """Each element and each operator that policies of functions have, and what cannot be judged allows nothing."""
    assert judged({**ALLOW, **changes}) == (Verdict.ALLOWED if is_allowed else Verdict.NOT_ALLOWED)


def test_a_deny_goes_before_an_allow() -> None:
    """Wherever it stands, unless it surely does not apply; its opposites work too."""
    deny = {**ALLOW, "Effect": "Deny"}
    assert judged(ALLOW, deny) == judged(deny, ALLOW) == Verdict.DENIED
    assert judged(ALLOW, {**deny, "Condition": {"StringEquals": {"aws:SourceAccount": "999999999999"}}}) == Verdict.ALLOWED
    assert judged(ALLOW, {**deny, "Condition": {"NumericLessThan": {"aws:MultiFactorAuthAge": "9"}}}) == Verdict.DENIED
    unlike = {key: value for key, value in deny.items() if key not in ("Principal", "Resource")}
    assert judged(ALLOW, {**unlike, "NotPrincipal": ALLOW["Principal"], "Resource": "*"}) == Verdict.ALLOWED
    assert judged(ALLOW, {**unlike, "NotPrincipal": {"Service": "s3.amazonaws.com"}, "Resource": "*"}) == Verdict.DENIED
    assert judged(ALLOW, {**unlike, "Principal": "*", "NotResource": FUNCTION}) == Verdict.ALLOWED


PRINCIPALS = st.sampled_from(["sns.amazonaws.com", "s3.amazonaws.com", "events.amazonaws.com"])
ARNS = st.sampled_from([TOPIC, "arn:aws:s3:::bucket", "arn:aws:events:us-east-1:111122223333:rule/r"])
ACCOUNTS = st.sampled_from(["111122223333", "444455556666"])
RESOURCES = st.sampled_from([FUNCTION, FUNCTION + ":1", FUNCTION + ":live"])


@given(
    granted=PRINCIPALS,
    granted_arn=st.none() | ARNS,
    granted_account=st.none() | ACCOUNTS,
    resource=RESOURCES,
    principal=PRINCIPALS,
    arn=ARNS,
    account=ACCOUNTS,
    asked=RESOURCES,
    repeated=st.integers(0, 2),
)
def test_what_add_permission_grants_is_granted_and_nothing_else(
    granted: str,
    granted_arn: str | None,
    granted_account: str | None,
    resource: str,
    principal: str,
    arn: str,
    account: str,
    asked: str,
    repeated: int,
) -> None:
    """Every part of a grant has to fit."""
    grant = policies.Grant(
        sid="s", principal=granted, action=access.INVOKE_FUNCTION, source_arn=granted_arn, source_account=granted_account
    )
    document = policies.add(None, policies.statement(grant, resource, "us-east-1"))
    fits = principal == granted and asked == resource and granted_arn in (None, arn) and granted_account in (None, account)
    verdict = access.evaluate(
        [document] * (1 + repeated),
        principal=principal,
        action=access.INVOKE_FUNCTION,
        resource=asked,
        values={"aws:sourcearn": arn, "aws:sourceaccount": account},
    )
    assert verdict == (Verdict.ALLOWED if fits else Verdict.NOT_ALLOWED)


CONDITIONS = st.dictionaries(
    st.sampled_from(
        ["StringEquals", "StringNotEquals", "StringLike", "ArnLike", "ArnNotLike", "Null", "DateLessThan", "StringEqualsIfExists"]
    ),
    st.dictionaries(
        st.sampled_from(["AWS:SourceArn", "aws:SourceAccount", "aws:SourceIp", "lambda:FunctionUrlAuthType"]),
        st.sampled_from([TOPIC, "111122223333", "*", "true", ["x", TOPIC], "${x}", 7]),
        max_size=2,
    ),
    max_size=3,
)
STATEMENTS = st.lists(
    st.fixed_dictionaries(
        {
            "Effect": st.sampled_from(["Allow", "Deny"]),
            "Principal": st.sampled_from(["*", {"Service": "sns.amazonaws.com"}, {"Service": "s3.amazonaws.com"}]),
            "Action": st.sampled_from(["*", "lambda:InvokeFunction", "lambda:GetPolicy"]),
            "Resource": st.sampled_from(["*", FUNCTION]),
            "Condition": CONDITIONS,
        }
    ),
    max_size=4,
)


@given(statements=STATEMENTS, extra=STATEMENTS)
def test_more_denies_never_open_and_more_allows_never_close(statements: list[dict[str, Any]], extra: list[dict[str, Any]]) -> None:
    """A policy with further Deny statements lets no more in; with further Allow statements, no fewer."""
    before = judged(*statements)
    denies = [{**each, "Effect": "Deny"} for each in extra]
    allows = [{**each, "Effect": "Allow"} for each in extra]
    if before is not Verdict.ALLOWED:
        assert judged(*statements, *denies) is not Verdict.ALLOWED
    if before is Verdict.ALLOWED:
        assert judged(*statements, *allows) is Verdict.ALLOWED
    if before is Verdict.DENIED:
        assert judged(*allows, *statements) is Verdict.DENIED


@given(condition=CONDITIONS)
def test_what_cannot_be_judged_is_refused(condition: dict[str, Any]) -> None:
    """An unknown operator takes an Allow's effect away, and never a Deny's that would have applied without it."""
    unknown = {**condition, "IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}
    assert judged(on(unknown)) is Verdict.NOT_ALLOWED
    if judged(on(condition, Effect="Deny"), ALLOW) is Verdict.DENIED:
        assert judged(on(unknown, Effect="Deny"), ALLOW) is Verdict.DENIED


@given(pattern=st.text("ab*?", max_size=8), text=st.text("ab", max_size=8))
def test_wildcards_are_those_of_a_naive_twin(pattern: str, text: str) -> None:
    """Stars and question marks mean what regular expressions make of them."""
    naive = re.fullmatch("".join({"*": ".*", "?": "."}.get(each, each) for each in pattern), text)
    assert access.is_like(pattern, text) == bool(naive)


def test_hostile_patterns_take_no_time() -> None:
    """A pattern of many stars does not make a request expensive."""
    assert not access.is_like("*a" * 200 + "b", "a" * 5000)


def test_refusals_are_awss() -> None:
    """The text says who may not do what to which resource, and why."""
    request = {"principal": "sns.amazonaws.com", "action": "lambda:InvokeFunction", "resource": FUNCTION}
    begin = f"User: sns.amazonaws.com is not authorized to perform: lambda:InvokeFunction on resource: {FUNCTION}"
    assert access.refusal(Verdict.NOT_ALLOWED, **request) == (
        f"{begin} because no resource-based policy allows the lambda:InvokeFunction action"
    )
    assert access.refusal(Verdict.DENIED, **request) == f"{begin} with an explicit deny in a resource-based policy"
