"""How provisioned concurrency is split by an alias's weights."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdad.model.function import Alias, Function, FunctionVersion, ProvisionedConcurrency
from lambdad.model.ids import AccountId, Region
from lambdad.services.lambda_.rules import provisioned

ACCOUNT, REGION = AccountId("000000000000"), Region("us-east-1")
LATEST = FunctionVersion(
    account=ACCOUNT,
    region=REGION,
    name="f",
    deployment_id="d",
    revision_id="r",
    last_modified="",
    runtime="python3.12",
    handler="h",
    role="r",
    timeout_s=3,
    memory_mib=128,
    ephemeral_storage_mib=512,
    code_sha256="00",
    code_size_bytes=1,
    log_group="/aws/lambda/f",
)


def function(requested: int, weight: float | None) -> Function:
    additional = () if weight is None else (("2", weight),)
    return Function(
        account=ACCOUNT,
        region=REGION,
        name="f",
        latest=LATEST,
        versions={number: replace(LATEST, version=number, deployment_id=f"d{number}") for number in ("1", "2")},
        aliases={"live": Alias(name="live", arn="", function_version="1", additional=additional, revision_id="r")},
        provisioned={"live": ProvisionedConcurrency(requested=requested, last_modified="")},
    )


@pytest.mark.parametrize(
    ("requested", "weight", "shares"),
    [
        (10, None, {"1": 10}),
        (10, 0.0, {"1": 10}),
        (10, 0.1, {"1": 9, "2": 1}),
        (10, 0.01, {"1": 9, "2": 1}),
        (10, 0.99, {"1": 1, "2": 9}),
        (10, 1.0, {"2": 10}),
        (1, 0.1, {"1": 1}),
        (1, 0.6, {"2": 1}),
        (3, 0.5, {"1": 1, "2": 2}),
    ],
)
def test_shares(requested: int, weight: float | None, shares: dict[str, int]):
    """In proportion, and at least one for each version that gets invocations at all."""
    assert provisioned.shares(function(requested, weight), "live") == shares


@given(st.integers(1, 1000), st.floats(0, 1))
def test_shares_add_up(requested: int, weight: float):
    """Nothing is lost, nothing is added, and no share is far from its weight."""
    shares = provisioned.shares(function(requested, weight), "live")
    assert sum(shares.values()) == requested and all(share > 0 for share in shares.values())
    assert abs(shares.get("2", 0) - requested * weight) <= 1


def test_what_a_function_claims():
    """Its reservation, or what is provisioned where it has none."""
    one = function(4, None)
    assert one.claimed_concurrency == 4 and replace(one, reserved_concurrency=7).claimed_concurrency == 7
    assert replace(one, provisioned={}).claimed_concurrency == 0
