"""Runtime identifiers, the choice of an interpreter, plans and environment variables: all values."""

import dataclasses
import json
from datetime import date
from pathlib import Path

import botocore.session
import pytest

from lambdad.runtimes import catalogue, environment, java_client, matching, plans
from lambdad.runtimes.catalogue import Family, Standing
from lambdad.runtimes.discovery import Interpreter
from lambdad.runtimes.java_client import JavaClient

TODAY = date(2026, 9, 30)
FILES = plans.RuntimeFiles(directory="/pkg/runtimes", sdk={"boto3": "/site/boto3", "six.py": "/site/six.py"}, sdk_oldest=(3, 10))


def _python(*version: int, prefix: str = "", **more: object) -> Interpreter:
    prefix = prefix or f"/pyenv/{'.'.join(map(str, version))}"
    path = f"{prefix}/bin/python{version[0]}.{version[1]}"
    values: dict[str, object] = {"parts": ("",), "runs_in_place": False, **more}
    return Interpreter(family=Family.PYTHON, version=version, path=path, prefix=prefix, identity=f"{path}:1", **values)  # type: ignore[arg-type]


def _node(*version: int) -> Interpreter:
    return Interpreter(family=Family.NODEJS, version=version, path="/usr/bin/node", prefix="/usr", identity="/usr/bin/node:1")


def test_the_catalogue_knows_every_runtime_of_the_model() -> None:
    """botocore's enumeration and ours agree, images' and unnamed ones left out."""
    model = botocore.session.get_session().get_service_model("lambda")
    named = set(model.shape_for("Runtime").enum)
    assert named - set(catalogue.RUNTIMES) <= {"custom", "dotnet9"}


@pytest.mark.parametrize(
    ("name", "day", "standing"),
    [
        ("python3.13", TODAY, Standing.SUPPORTED),
        ("python3.8", TODAY, Standing.DEPRECATED),
        ("python3.8", date(2027, 2, 1), Standing.CREATE_BLOCKED),
        ("python3.8", date(2027, 3, 3), Standing.BLOCKED),
        ("python3.7", TODAY, Standing.CREATE_BLOCKED),
        ("python2.7", TODAY, Standing.BLOCKED),
        ("java17.al2023", date(2040, 1, 1), Standing.SUPPORTED),
    ],
)
def test_a_runtime_closes_by_its_dates(name: str, day: date, standing: Standing) -> None:
    """Deprecation, the block of creation and the block of updates come on their days."""
    assert catalogue.RUNTIMES[name].standing(day) is standing


def test_what_the_service_prints_can_be_created() -> None:
    """The printed set is part of what is accepted; names are case-sensitive."""
    assert set(catalogue.PRINTED) <= catalogue.creatable(TODAY)
    assert catalogue.find("PYTHON3.9") is None
    assert catalogue.refusal("x", ["a", "b"]).endswith("Member must satisfy enum value set: [a, b] or be a valid ARN")


FOUND = (_python(3, 11, 2), _python(3, 8, 18), _python(3, 11, 7), _python(3, 13, 0), _python(3, 7, 16), _node(20, 1, 0))


@pytest.mark.parametrize(
    ("runtime", "version", "exact"),
    [
        ("python3.11", (3, 11, 2), True),
        ("python3.8", (3, 8, 18), True),
        ("python3.12", (3, 13, 0), False),
        ("python3.9", (3, 8, 18), False),
        ("python3.10", (3, 11, 2), False),
        ("python3.7", (3, 8, 18), False),
        ("python3.14", (3, 13, 0), False),
        ("nodejs20.x", (20, 1, 0), True),
        ("nodejs24.x", (20, 1, 0), False),
    ],
)
def test_the_nearest_version_is_chosen(runtime: str, version: tuple[int, ...], exact: bool) -> None:
    """The exact minor version wins, else the nearest that our client runs on, the newer of two as near."""
    match = matching.match(runtime, FOUND)
    assert match is not None and match.interpreter is not None
    assert (match.interpreter.version, match.exact) == (version, exact)
    assert bool(match.warning) is not exact
    assert (matching.match(runtime, FOUND, exact_only=True) is not None) is exact


@pytest.mark.parametrize(
    ("runtime", "found", "words"),
    [
        ("dotnet10", FOUND, "no runtime client for .NET"),
        ("java21", FOUND, "no java 8 or newer"),
        ("ruby3.4", FOUND, "no ruby 3.0 or newer"),
        ("python2.7", FOUND, "no runtime client for Python 2"),
        ("python3.12", FOUND, "only exact versions"),
        ("python3.12", (_python(3, 6, 1),), "no python 3.8 or newer"),
        ("nodejs22.x", (), "no nodejs 18 or newer"),
        ("cobol1", FOUND, "not a Lambda runtime"),
    ],
)
def test_it_says_what_is_missing(runtime: str, found: tuple[Interpreter, ...], words: str) -> None:
    """Where nothing matches there is a sentence that says why."""
    assert matching.match(runtime, found, exact_only=True) is None
    assert words in matching.explain_missing(runtime, found, exact_only=True)


def test_what_no_client_runs_on_is_not_offered() -> None:
    """An interpreter that is too old for its runtime client, or has none, is not among those that run functions."""
    assert [
        matching.is_new_enough(one) for one in (_python(3, 7, 17), _python(2, 7, 18), _python(3, 8, 0), _node(16, 0, 0), _node(18, 0, 0))
    ] == [
        False,
        False,
        True,
        False,
        True,
    ]


def test_runtime_versions_have_stable_names() -> None:
    """INIT_START's version shows what really runs, and the ARN follows the file."""
    match = matching.match("python3.12", FOUND)
    assert match is not None
    assert match.version_name == "python:3.13.v0"
    assert match.version_arn("eu-west-1") == match.version_arn("eu-west-1")
    assert match.version_arn("eu-west-1").startswith("arn:aws:lambda:eu-west-1::runtime:")
    assert len(match.version_arn("eu-west-1").rpartition(":")[2]) == 64
    provided = matching.match("provided.al2023", ())
    assert provided is not None and provided.exact and provided.version_name == "provided:al2023.v1"
    assert "nodejs22.x" in matching.runnable(FOUND) and "java21" not in matching.runnable(FOUND)


def _plan(runtime: str, found: tuple[Interpreter, ...] = FOUND, **options: object) -> plans.RuntimePlan:
    match = matching.match(runtime, found)
    assert match is not None
    values: dict[str, object] = {"memory_mib": 128, "customer": {}, "files": FILES, **options}
    return plans.launch(match, **values)  # type: ignore[arg-type]


def test_python_is_forked_from_a_template() -> None:
    """The interpreter is seen where AWS has it, with our bootstrap and the SDK in /var/runtime."""
    plan = _plan("python3.11")
    assert (plan.kind, plan.stem) == (plans.Kind.FORK, False)
    assert plan.interpreter == "/var/lang/bin/python3.11"
    assert plan.commands == (("/var/lang/bin/python3.11", "/var/runtime/bootstrap.py"),)
    assert plan.binds == (
        plans.Bind("/pyenv/3.11.2", "/var/lang"),
        plans.Bind("/pkg/runtimes/python/bootstrap.py", "/var/runtime/bootstrap.py"),
        plans.Bind("/pkg/runtimes/python/snapshot_restore_py.py", "/var/runtime/snapshot_restore_py.py"),
        plans.Bind("/site/boto3", "/var/runtime/boto3"),
        plans.Bind("/site/six.py", "/var/runtime/six.py"),
    )
    assert plan.template_environment["LD_LIBRARY_PATH"].startswith("/var/lang/lib:")
    assert "/var/task/lib" in plan.directories
    assert plan.notes == ()


def test_interpreters_are_bound_as_they_need() -> None:
    """A system's needs nothing, one that knows its place is seen there too, one in a home directory only in part."""
    system = _python(3, 11, prefix="/usr", parts=())
    assert next(bind.target for bind in _plan("python3.11", (system,)).binds) == "/var/runtime/bootstrap.py"
    assert _plan("python3.11", (system,)).interpreter == "/usr/bin/python3.11"
    placed = _python(3, 11, prefix="/home/u/py", runs_in_place=True)
    assert [bind.target for bind in _plan("python3.11", (placed,)).binds][:2] == ["/var/lang", "/home/u/py"]
    hidden = _python(3, 11, prefix="/opt/py", runs_in_place=True)
    assert [bind.target for bind in _plan("python3.11", (hidden,)).binds][:2] == ["/var/lang", "/var/runtime/bootstrap.py"]
    partly = _python(3, 11, prefix="/home/u", parts=("bin/python3.11", "lib/python3.11"))
    assert _plan("python3.11", (partly,)).binds[:2] == (
        plans.Bind("/home/u/bin/python3.11", "/var/lang/bin/python3.11"),
        plans.Bind("/home/u/lib/python3.11", "/var/lang/lib/python3.11"),
    )


def test_an_old_python_gets_no_sdk_and_is_told() -> None:
    """The SDK is only there where it runs, and the function's log says when it is not."""
    plan = _plan("python3.8")
    assert not any("boto3" in bind.target for bind in plan.binds)
    assert "boto3 needs Python 3.10" in plan.notes[0]


@pytest.mark.parametrize(
    ("customer", "forked"),
    [
        ({"STAGE": "dev", "PYTHONPATH": "/x", "PYTHONUNBUFFERED": "1"}, True),
        ({"LD_LIBRARY_PATH": "/var/task/mine"}, False),
        ({"LD_PRELOAD": "/opt/x.so"}, False),
        ({"PYTHONHASHSEED": "0"}, False),
        ({"MALLOC_ARENA_MAX": "2"}, False),
        ({"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrap"}, False),
    ],
)
def test_what_a_process_reads_at_its_start_needs_a_process(customer: dict[str, str], forked: bool) -> None:
    """A function whose variables only a new process would notice is executed, not forked."""
    assert (_plan("python3.11", customer=customer).kind is plans.Kind.FORK) is forked


def test_wrappers_get_the_command_as_their_arguments() -> None:
    """AWS_LAMBDA_EXEC_WRAPPER is executed with the runtime's command line; OS-only runtimes know no wrappers."""
    wrapper = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrap"}
    plan = _plan("python3.11", customer=wrapper)
    assert plan.commands == (("/opt/wrap", "/var/lang/bin/python3.11", "/var/runtime/bootstrap.py"),)
    assert _plan("provided.al2023", customer=wrapper).commands == (("/var/task/bootstrap",), ("/opt/bootstrap",))


def test_node_is_told_its_memory_and_can_be_booted_ahead() -> None:
    """V8 gets the function's memory but a tenth for the young generation; NODE_OPTIONS rules a stem cell out."""
    plan = _plan("nodejs20.x", memory_mib=512)
    assert plan.commands == (("/usr/bin/node", "--max-semi-space-size=25", "--max-old-space-size=461", "/var/runtime/bootstrap.cjs"),)
    assert (plan.kind, plan.stem) == (plans.Kind.EXEC, True)
    assert plan.key != _plan("nodejs20.x", memory_mib=128).key
    assert plan.key == _plan("nodejs20.x", memory_mib=512, customer={"STAGE": "x"}).key
    assert not _plan("nodejs20.x", customer={"NODE_OPTIONS": "--inspect"}).stem


JAVA_FILES = dataclasses.replace(FILES, java=JavaClient("/srv/java", stem_cells=True))


def _jdk(*version: int, prefix: str = "/usr/lib/jvm/one", **more: object) -> Interpreter:
    path = f"{prefix}/bin/java"
    return Interpreter(family=Family.JAVA, version=version, path=path, prefix=prefix, identity=f"{path}:{version}", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("runtime", "version", "exact"),
    [("java8.al2", 11, False), ("java11", 11, True), ("java17.al2023", 17, True), ("java21", 25, False), ("java25", 25, True)],
)
def test_the_nearest_java_is_chosen(runtime: str, version: int, exact: bool) -> None:
    """Java goes by its first number; without AWS's client there is none, and the answer says how to get it."""
    found = (_jdk(17, 0, 15), _jdk(25, 0, 3), _jdk(11, 0, 1))
    match = matching.match(runtime, found)
    assert match is not None and match.interpreter is not None
    assert (match.interpreter.version[0], match.exact) == (version, exact)
    without = FILES.without
    assert matching.match(runtime, found, without=without) is None
    assert "lambdad runtimes install java" in matching.explain_missing(runtime, found, without=without)
    assert runtime not in matching.runnable(found, without=without)
    assert JAVA_FILES.without == frozenset()


@pytest.mark.parametrize(
    ("memory_mib", "heap_kib", "classes_kib", "code_kib"),
    [(256, 222_823, 26_214, 13_107), (1536, 1_336_936, 157_286, 78_643), (3008, 2_834_432, 163_840, 81_920)],
)
def test_java_gets_its_memory_as_on_aws(memory_mib: int, heap_kib: int, classes_kib: int, code_kib: int) -> None:
    """The figures are those of AWS's own command lines at these sizes."""
    (command,) = _plan("java17", (_jdk(17, 0, 15),), files=JAVA_FILES, memory_mib=memory_mib).commands
    sizes = {name: int(size) for name, size in (option[4:-1].split("=") for option in command if option.endswith("k"))}
    assert abs(sizes["MaxHeapSize"] - heap_kib) <= 1
    assert (sizes["MaxMetaspaceSize"], sizes["ReservedCodeCacheSize"]) == (classes_kib, code_kib)


def test_java_runs_awss_client_and_can_be_booted_ahead() -> None:
    """The client is /var/runtime; settings of the distribution are seen; what is read at the start rules a stem cell out."""
    jdk = _jdk(17, 0, 15, also=("/etc/java-17",))
    plan = _plan("java17", (jdk,), files=JAVA_FILES)
    assert plan.binds == (plans.Bind("/etc/java-17", "/etc/java-17"), plans.Bind("/srv/java", "/var/runtime"))
    assert plan.commands[0][0] == "/usr/lib/jvm/one/bin/java" and plan.commands[0][-2:] == ("-jar", "/var/runtime/lambdad.jar")
    assert plan.stem and plan.stem_command == plan.commands[0]
    assert plan.key != _plan("java17", (jdk,), files=JAVA_FILES, memory_mib=256).key
    for name in ("JAVA_TOOL_OPTIONS", "TZ", "LC_ALL", "AWS_LAMBDA_EXEC_WRAPPER", "LD_PRELOAD"):
        other = _plan("java17", (jdk,), files=JAVA_FILES, customer={name: "x"})
        assert (other.stem, other.stem_command) == (False, ())
    slow = dataclasses.replace(FILES, java=JavaClient("/srv/java"))
    assert not _plan("java17", (jdk,), files=slow).stem
    own = _plan("java17", (jdk,), files=JAVA_FILES, customer={"JAVA_TOOL_OPTIONS": "-Dfile.encoding=latin1"}).commands[0]
    assert "-Dsun.jnu.encoding=UTF-8" in own and "-Dfile.encoding=UTF-8" not in own


def test_java_takes_the_archive_of_its_own_virtual_machine() -> None:
    """An archive is good for one virtual machine only."""
    one, other = _jdk(17, 0, 15), _jdk(17, 0, 16)
    archives = frozenset([java_client.archive_name(one)])
    files = dataclasses.replace(FILES, java=JavaClient("/srv/java", archives=archives))
    option = f"-XX:SharedArchiveFile=/var/runtime/cds/{java_client.archive_name(one)}"
    assert option in _plan("java17", (one,), files=files).commands[0]
    assert not any("SharedArchiveFile" in word for word in _plan("java17", (other,), files=files).commands[0])
    assert java_client.archive_name(one) != java_client.archive_name(other)


def test_an_installation_of_another_release_is_none(tmp_path: Path) -> None:
    """What was made of other jars or sources, or is not whole, is to be made again."""
    assert java_client.find(tmp_path) is None
    made = tmp_path / "java" / "made.json"
    made.parent.mkdir()
    for text in ("", "[]", '{"recipe": "other"}'):
        made.write_text(text)
        assert java_client.find(tmp_path) is None
    made.write_text(json.dumps({"recipe": java_client.recipe()}))
    assert java_client.find(tmp_path) == JavaClient(str(made.parent), stem_cells=False)


def test_ruby_looks_for_gems_of_both_versions() -> None:
    """GEM_PATH and RUBYLIB are AWS's; a near Ruby's own folders follow."""
    ruby = Interpreter(family=Family.RUBY, version=(3, 1), path="/usr/bin/ruby3.1", prefix="/usr", identity="x")
    plan = _plan("ruby3.4", (ruby,))
    assert plan.commands == (("/usr/bin/ruby3.1", "/var/runtime/bootstrap.rb"),)
    assert plan.stem and plan.stem_command == plan.commands[0]
    gems = ["/var/task/vendor/bundle/ruby/3.4.0", "/opt/ruby/gems/3.4.0", "/var/task/vendor/bundle/ruby/3.1.0", "/opt/ruby/gems/3.1.0"]
    assert plan.environment["GEM_PATH"].split(":") == gems
    assert plan.environment["RUBYLIB"] == "/var/task:/var/runtime/lib:/opt/ruby/lib"
    assert not _plan("ruby3.4", (ruby,), customer={"RUBYOPT": "-w"}).stem


def test_os_only_runtimes_search_two_places() -> None:
    """The function's bootstrap comes before the layers', and AWS's text names both when there is none."""
    plan = _plan("provided.al2")
    assert (plan.kind, plan.interpreter, plan.binds) == (plans.Kind.EXEC, "", ())
    assert plans.missing_entrypoint(plan) == "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"


def test_a_plain_process_sees_the_machine_as_it_is() -> None:
    """Without a fence nothing is bound and every path is the machine's own."""
    plan = _plan("python3.11", fenced=False, task_root="/data/code/abc", layers_root="/data/layers/x")
    assert (plan.kind, plan.binds, plan.directories) == (plans.Kind.EXEC, (), ())
    assert plan.commands == (("/pyenv/3.11.2/bin/python3.11", "/pkg/runtimes/python/bootstrap.py"),)
    assert plan.environment["PYTHONPATH"] == "/site"
    assert plan.environment["PATH"].startswith("/pyenv/3.11.2/bin:") and plan.environment["PATH"].endswith("/data/layers/x/bin")
    assert "/data/code/abc/lib" in plan.environment["LD_LIBRARY_PATH"].split(":")


def test_our_own_files_are_there() -> None:
    """The bootstraps exist, and boto3 is found with what it needs."""
    files = plans.find_runtime_files()
    assert {"boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six.py", "urllib3"} == set(files.sdk)
    assert files.sdk_oldest >= (3, 8)


FACTS = environment.Facts(
    handler="app.handler",
    region="eu-west-1",
    function_name="f",
    version="$LATEST",
    memory_mib=128,
    log_group="/aws/lambda/f",
    log_stream="2026/01/31/[$LATEST]0123",
    endpoint_url="http://169.254.100.1:4566",
    credentials=environment.Credentials(access_key_id="AKIA", secret_access_key="s", session_token="t"),
)


def test_a_function_sees_aws_s_variables() -> None:
    """The set and its values are those observed in the python3.13 runtime, plus what is ours."""
    got = environment.build(catalogue.RUNTIMES["python3.13"], FACTS, {})
    assert got.pop("AWS_ENDPOINT_URL") == "http://169.254.100.1:4566"
    assert got.pop("PYTHONDONTWRITEBYTECODE") == "1"
    assert got == {
        "AWS_ACCESS_KEY_ID": "AKIA",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
        "AWS_LAMBDA_FUNCTION_NAME": "f",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/f",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/31/[$LATEST]0123",
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
        "AWS_REGION": "eu-west-1",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_SESSION_TOKEN": "t",
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": "169.254.100.1:2000",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "LAMBDA_TASK_ROOT": "/var/task",
        "LANG": "en_US.UTF-8",
        "LD_LIBRARY_PATH": "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
        "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
        "PWD": "/var/task",
        "PYTHONPATH": "/var/runtime",
        "SHLVL": "0",
        "TZ": ":UTC",
        "_AWS_XRAY_DAEMON_ADDRESS": "169.254.100.1",
        "_AWS_XRAY_DAEMON_PORT": "2000",
        "_HANDLER": "app.handler",
    }


def test_customers_replace_defaults_but_nothing_reserved() -> None:
    """A customer's PATH wins over the default one; the platform's own names cannot be taken."""
    customer = {"PATH": "/mine", "AWS_ENDPOINT_URL": "http://other", "AWS_REGION": "mars-1", "STAGE": "dev"}
    got = environment.build(catalogue.RUNTIMES["nodejs22.x"], FACTS, customer)
    assert (got["PATH"], got["AWS_ENDPOINT_URL"], got["STAGE"]) == ("/mine", "http://other", "dev")
    assert got["AWS_REGION"] == "eu-west-1"
    assert got["NODE_PATH"].startswith("/opt/nodejs/node22/node_modules:")


def test_json_logging_and_extensions_change_the_set() -> None:
    """The level goes with JSON only; OS-only runtimes have no AWS_EXECUTION_ENV; extensions do not see the handler."""
    runtime = catalogue.RUNTIMES["provided.al2023"]
    json_facts = environment.Facts(
        handler="h", region="r", function_name="f", version="1", memory_mib=128, log_group="g", log_stream="s", log_format="JSON"
    )
    got = environment.build(runtime, json_facts, {"STAGE": "dev"})
    assert (got["AWS_LAMBDA_LOG_FORMAT"], got["AWS_LAMBDA_LOG_LEVEL"]) == ("JSON", "INFO")
    assert "AWS_EXECUTION_ENV" not in got and "AWS_ACCESS_KEY_ID" not in got
    seen = environment.for_extension(got)
    assert "STAGE" in seen and "_HANDLER" not in seen and "LAMBDA_TASK_ROOT" not in seen
