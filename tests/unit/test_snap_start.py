"""SnapStart's decisions, by values: who may have it, what is shown, how a restored environment lives, what the log says."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdad.machines import environment as machine
from lambdad.machines import platform_text
from lambdad.model.errors import AwsError
from lambdad.model.function import Function, FunctionKey, FunctionVersion, SnapStartApplyOn, State, StateReasonCode
from lambdad.model.ids import AccountId, Region
from lambdad.runtimes import catalogue, environment
from lambdad.sandbox.inside import tracing
from lambdad.services.lambda_.rules import configuration, lifecycle, presentation, snap_start, versions
from lambdad.wire import frames
from lambdad.worker import role_credentials, runtime_api

KEY = FunctionKey(AccountId("000000000000"), Region("us-east-1"), "f")
PARAMETERS: dict[str, Any] = {"Runtime": "python3.12", "Handler": "h.h", "Role": "r", "SnapStart": {"ApplyOn": "PublishedVersions"}}
CODE = configuration.CodeReference(sha256="00" * 32, size_bytes=1, unzipped_bytes=1)


def ids(number: int = 1) -> configuration.Ids:
    return configuration.Ids(revision_id=f"r{number}", deployment_id=f"d{number}", last_modified="t")


def published(parameters: dict[str, Any] = PARAMETERS) -> FunctionVersion:
    latest = lifecycle.ready(configuration.create(KEY, parameters, CODE, (), ids()))
    function = Function(account=KEY.account, region=KEY.region, name=KEY.name, latest=latest, serving=latest)
    return versions.publish(
        function,
        description=None,
        new_revision_ids=("a", "b"),
        new_deployment_id="d2",
        settled=not snap_start.applies(latest),
    ).version


@pytest.mark.parametrize(
    ("runtime", "storage_mib", "message"),
    [
        ("python3.12", 512, ""),
        ("python3.13", 512, ""),
        ("python3.11", 512, "python3.11 is not supported for SnapStart enabled functions."),
        ("nodejs22.x", 512, "nodejs22.x is not supported for SnapStart enabled functions."),
        ("ruby3.3", 512, "ruby3.3 is not supported for SnapStart enabled functions."),
        ("provided.al2023", 512, "provided.al2023 is not supported for SnapStart enabled functions."),
        ("java8.al2", 512, "java8.al2 is not supported for SnapStart enabled functions."),
        ("java21", 512, "SnapStart for java21 is not supported by lambdad yet."),
        ("dotnet8", 512, "SnapStart for dotnet8 is not supported by lambdad yet."),
        ("python3.12", 513, "EphemeralStorage.Size larger than 512 MB is not supported for SnapStart enabled functions."),
    ],
)
def test_who_may_have_it(runtime: str, storage_mib: int, message: str) -> None:
    """AWS's runtimes from the versions on that AWS names, of which we have Python's; and the default size of /tmp."""
    snap_start.check("None", runtime, storage_mib)
    if not message:
        snap_start.check("PublishedVersions", runtime, storage_mib)
        return
    with pytest.raises(AwsError) as refused:
        snap_start.check("PublishedVersions", runtime, storage_mib)
    assert refused.value.message == message


def test_settings_that_are_impossible_together_are_refused_one_after_the_other() -> None:
    """An update is checked with what it leaves as it is."""
    latest = configuration.create(KEY, PARAMETERS, CODE, (), ids())
    for change in ({"EphemeralStorage": {"Size": 1024}}, {"Runtime": "nodejs22.x"}):
        with pytest.raises(AwsError, match="SnapStart enabled"):
            configuration.update(latest, change, None, ids(2))
        off = configuration.update(latest, {**change, "SnapStart": {"ApplyOn": "None"}}, None, ids(2))
        assert off.snap_start is SnapStartApplyOn.NONE


def test_what_is_shown() -> None:
    """Off for $LATEST and while a version is Pending or Failed, On once it is Active; and without SnapStart as ever."""
    version = published()
    latest = lifecycle.ready(configuration.create(KEY, PARAMETERS, CODE, (), ids()))
    assert version.state is State.PENDING
    shown = [presentation.in_list(one, "arn")["SnapStart"] for one in (latest, version, lifecycle.ready(version))]
    assert [one["ApplyOn"] for one in shown] == ["PublishedVersions"] * 3
    assert [one["OptimizationStatus"] for one in shown] == ["Off", "Off", "On"]
    plain = published({**PARAMETERS, "SnapStart": {"ApplyOn": "None"}})
    assert plain.state is State.ACTIVE
    assert presentation.in_list(plain, "arn")["SnapStart"] == {"ApplyOn": "None", "OptimizationStatus": "Off"}


def test_a_failed_version_is_a_snap_start_exception() -> None:
    """Pending is a conflict as for others; Failed has an error of its own."""
    version = published()
    with pytest.raises(AwsError) as pending:
        lifecycle.require_invocable(version)
    assert (pending.value.code, pending.value.status) == ("ResourceConflictException", 409)
    with pytest.raises(AwsError) as failed:
        lifecycle.require_invocable(replace(version, state=State.FAILED))
    assert (failed.value.code, failed.value.status) == ("SnapStartException", 400)
    lifecycle.require_invocable(lifecycle.ready(version))


@pytest.mark.parametrize(
    ("error_type", "code"),
    [
        ("Sandbox.Timedout", StateReasonCode.FUNCTION_ERROR_INIT_TIMEOUT),
        ("Runtime.ImportModuleError", StateReasonCode.FUNCTION_ERROR_RUNTIME_INIT),
        ("Function.Unknown", StateReasonCode.FUNCTION_ERROR_RUNTIME_INIT),
        ("Runtime.OutOfMemory", StateReasonCode.FUNCTION_ERROR_INIT_RESOURCES),
        ("InvalidRuntime", StateReasonCode.INVALID_RUNTIME),
        ("InternalError", StateReasonCode.INTERNAL_ERROR),
    ],
)
def test_reasons_of_failed_versions(error_type: str, code: StateReasonCode) -> None:
    """What the worker says of a failed Init phase becomes AWS's reason code, and a text of bounded length."""
    text, given = snap_start.build_failure(error_type, "x" * 5000)
    assert given is code
    assert 0 < len(text) <= 1024


# --- a restored environment


def play(*events: machine.Event) -> tuple[machine.Environment, list[machine.Command]]:
    """Feed events, a tenth of a second apart; returns the end and all commands."""
    env, commands = machine.begin_restore(0.0), []
    for number, event in enumerate(events, 1):
        env, caused = machine.step(env, event, number / 10)
        commands += caused
    return env, commands


INVOKE = machine.InvokeArrived("a", 3.0)


def test_a_restored_environment_serves() -> None:
    """From the first next on it is like any other."""
    env, commands = play(machine.NextCalled(), INVOKE, machine.ResponsePosted("a"), machine.NextCalled())
    assert env.state is machine.State.READY and env.is_restored
    assert [type(command) for command in commands] == [machine.Announce, machine.Deliver, machine.Finish]


@pytest.mark.parametrize("event", [machine.InitErrorPosted(), machine.Exited()])
def test_a_restore_that_fails_ends_the_environment(event: machine.Event) -> None:
    """It is reported as a restore, and nobody is told that the environment takes invocations."""
    env, commands = play(event)
    assert env.state is machine.State.STOPPED
    assert [type(command) for command in commands] == [machine.ReportInit, machine.KillEnvironment]
    assert commands[0].phase == "restore"  # type: ignore[union-attr]


def test_a_restore_has_ten_seconds() -> None:
    """Not more and not less."""
    env = machine.begin_restore(0.0)
    assert machine.step(env, machine.Tick(), 9.9) == (env, [])
    after, commands = machine.step(env, machine.Tick(), 10.0)
    assert after.state is machine.State.STOPPED
    assert commands == [machine.ReportInit(machine.Cause.TIMEOUT, 10.0, "restore"), machine.KillEnvironment()]


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ((machine.NextCalled(), INVOKE, machine.Exited()), [machine.Announce, machine.Deliver, machine.Finish]),
        ((machine.NextCalled(), machine.Exited()), [machine.Announce]),
        ((machine.NextCalled(), machine.PollLost(), INVOKE, machine.Exited()), [machine.Announce]),
    ],
)
def test_what_would_begin_anew_ends(events: tuple[machine.Event, ...], told: list[type]) -> None:
    """The caller is answered, and the environment ends; an invocation that has not begun is left to another environment."""
    env, commands = play(*events)
    assert env.state is machine.State.STOPPED
    assert [type(command) for command in commands] == [*told, machine.KillEnvironment]


EVENTS = st.sampled_from(
    [
        machine.NextCalled(), machine.PollLost(), machine.InitErrorPosted(), INVOKE, machine.ResponsePosted("a"), machine.ErrorPosted("a"),
        machine.Exited(), machine.Tick(), machine.StopAsked(),
    ]
)  # fmt: skip


@given(st.lists(st.tuples(EVENTS, st.floats(0, 6)), max_size=30))
def test_it_never_starts_a_runtime(history: list[tuple[machine.Event, float]]) -> None:
    """Whatever happens, no command kills or starts a runtime within the environment, and it stays a restored one."""
    env, now_s = machine.begin_restore(0.0), 0.0
    for event, passed_s in history:
        now_s += passed_s
        try:
            env, commands = machine.step(env, event, now_s)
        except machine.IllegalEvent:
            continue
        assert not any(isinstance(command, machine.KillRuntime | machine.Relaunch) for command in commands)
        assert env.state not in (machine.State.RESET, machine.State.REINIT)
        assert env.is_restored or env.state is machine.State.STOPPED


# --- what is said


def test_lines() -> None:
    """AWS's lines to the letter."""
    assert platform_text.restore_start_line("java:21.v38", "arn") == "RESTORE_START Runtime Version: java:21.v38\tRuntime Version ARN: arn"
    assert platform_text.restore_report_line(restore_ms=789.64) == "RESTORE_REPORT Restore Duration: 789.64 ms"
    assert platform_text.restore_report_line(restore_ms=1, status="timeout").endswith("\tStatus: timeout")
    failed = platform_text.restore_report_line(restore_ms=1, status="error", error_type="Runtime.ExitError")
    assert failed == "RESTORE_REPORT Restore Duration: 1.00 ms\tStatus: error\tError Type: Runtime.ExitError"
    report = platform_text.report_line(
        "5b3",
        duration_ms=149.53,
        billed=platform_text.billed_ms(149.53, 163),
        memory_mib=3538,
        max_memory_mib=163,
        init_ms=None,
        restore_ms=789.64,
        billed_restore_ms=163,
    )
    assert report == (
        "REPORT RequestId: 5b3\tDuration: 149.53 ms\tBilled Duration: 313 ms\tMemory Size: 3538 MB\tMax Memory Used: 163 MB\t"
        "Restore Duration: 789.64 ms\tBilled Restore Duration: 163 ms\t"
    )


def test_variables() -> None:
    """Credentials are where the container provider looks for them, and neither they nor the log's names are in variables."""
    runtime = catalogue.find("python3.12")
    assert runtime is not None
    facts = environment.Facts(
        handler="h.h",
        region="us-east-1",
        function_name="f",
        version="1",
        memory_mib=128,
        log_group="g",
        log_stream="s",
        initialization_type="snap-start",
        credentials=environment.Credentials(access_key_id="k", secret_access_key="s"),
        credentials_uri="http://127.0.0.1:9001/2021-04-23/credentials",
        credentials_token="t",
    )
    built = environment.build(runtime, facts, {"AWS_CONTAINER_AUTHORIZATION_TOKEN": "mine"})
    assert built["AWS_CONTAINER_CREDENTIALS_FULL_URI"] == "http://127.0.0.1:9001/2021-04-23/credentials"
    assert built["AWS_CONTAINER_AUTHORIZATION_TOKEN"] == "t"
    assert built["AWS_LAMBDA_INITIALIZATION_TYPE"] == "snap-start"
    assert not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME"} & set(built)


def test_credentials() -> None:
    """The endpoint answers as SDKs read it, and only who knows the token."""
    spec = frames.EnvironmentSpec(
        environment_id="e", account="0", region="r", function_name="f", function_arn="a", version="1", runtime="python3.12", handler="h",
        memory_mib=128, timeout_s=3, ephemeral_storage_mib=512, task="t", credentials_until_ms=1_700_000_000_000,
        environment={"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"},
    )  # fmt: skip
    answer = json.loads(role_credentials.answer(spec, "token", "token"))
    assert answer == {"AccessKeyId": "k", "SecretAccessKey": "s", "Token": "t", "Expiration": "2023-11-14T22:13:20Z"}
    with pytest.raises(runtime_api.Forbidden):
        role_credentials.answer(spec, "token", "Token é")
    with pytest.raises(runtime_api.NoSuchThing):
        role_credentials.answer(spec, "", "")


# --- the loop that runs in a kept process


def test_tables() -> None:
    """A table is entries of eight words, ended by a number that is negative; arguments are words however they are given."""
    table = tracing.table(("close", 3), ("prctl", -1, 2))
    assert len(table) == 3 * tracing.ENTRY.size
    assert tracing.ENTRY.unpack_from(table, 0) == (3, 3, 0, 0, 0, 0, 0, 0)
    assert tracing.ENTRY.unpack_from(table, 64) == (157, (1 << 64) - 1, 2, 0, 0, 0, 0, 0)
    assert tracing.ENTRY.unpack_from(table, 128)[0] == (1 << 64) - 1


def test_jumps_of_the_loop() -> None:
    """Both exits lead to the int3 at its end, and the loop to its start."""
    loop = tracing.LOOP
    assert loop[-1] == 0xCC
    for place, target in ((6, len(loop) - 1), (44, len(loop) - 1), (50, 0)):
        distance = loop[place + 1] - 256 * (loop[place + 1] > 127)
        assert place + 2 + distance == target
