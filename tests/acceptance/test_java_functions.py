"""Java functions by AWS's own runtime interface client, which `lambdad runtimes install java` has fetched and built."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import Functions, Lambdad, eventually, zipped

PROGRAMS = Path(__file__).parent / "programs" / "java"
RUNTIME = "java17"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("javac") is None, reason="no JDK is installed"),
    pytest.mark.skipif(shutil.which("mvn") is None, reason="Maven is not installed"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def runtimes_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the client has been installed by the command that users have."""
    place = tmp_path_factory.mktemp("runtimes")
    place.chmod(0o755)
    command = [sys.executable, "-m", "lambdad.cli.main", "runtimes", "install", "java"]
    done = subprocess.run(command, env={**os.environ, "LAMBDAD_RUNTIMES_DIR": str(place)}, capture_output=True, text=True)
    if done.returncode and "Maven could not fetch" in done.stderr:
        pytest.skip("the repository of Maven cannot be reached")
    assert done.returncode == 0, done.stderr
    assert "Checked 5 jars by their SHA-256" in done.stdout
    return place


@pytest.fixture(scope="module")
def java(runtimes_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lambdad]:
    """A lambdad that has Java."""
    running = Lambdad(tmp_path_factory.mktemp("lambdad"), environment={"LAMBDAD_RUNTIMES_DIR": str(runtimes_dir)})
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture
def fenced_java(java: Lambdad) -> None:
    if java.health()["worker"]["isolation"] == "plain":
        pytest.skip("functions are not fenced in here")


@pytest.fixture
def functions(java: Lambdad, request: pytest.FixtureRequest) -> Iterator[Functions]:
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:40]
    deployed = Functions(java, f"{name}-{os.urandom(3).hex()}")
    yield deployed
    deployed.clean()


@pytest.fixture(scope="module")
def compiled(runtimes_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | bytes]:
    """The classes of the programs, as they lie in a zip."""
    target = tmp_path_factory.mktemp("classes")
    sources = [str(path) for path in PROGRAMS.glob("*.java")]
    subprocess.run(
        ["javac", "-parameters", "--release", "8", "-Xlint:-options", "-cp", f"{runtimes_dir}/java/lib/*", "-d", str(target), *sources],
        check=True,
    )
    return {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*.class")}


@pytest.fixture(scope="module")
def classes(compiled: dict[str, str | bytes]) -> dict[str, str | bytes]:
    return {name: content for name, content in compiled.items() if name.startswith("example/")}


Deploy = Callable[..., str]


@pytest.fixture
def deploy(functions: Functions, classes: dict[str, str | bytes]) -> Deploy:
    def one(handler: str, **options: object) -> str:
        files = {**classes, **options.pop("files", {})}  # type: ignore[dict-item]
        values = {"runtime": RUNTIME, "Timeout": 20, "MemorySize": 256, **options}
        return functions.deploy(files, handler=f"example.Handlers{handler}", **values)

    return one


def test_a_request_handler(functions: Functions, deploy: Deploy):
    """A RequestHandler gets its event and context; its environment serves more than one invocation."""
    name = deploy("::handleRequest")
    answer = functions.invoke(name, {"a": ["ü", 1, None]}, LogType="Tail", ClientContext="eyJjdXN0b20iOiB7ImIiOiAiYyJ9fQ==")
    payload = answer["Payload"]
    assert payload.pop("arn").endswith(f":function:{name}") and 0 < payload.pop("left") <= 20_000
    assert payload.pop("trace", "Root=").startswith("Root=")
    assert payload == {
        "event": {"a": ["ü", 1, None]}, "id": answer["ResponseMetadata"]["RequestId"], "name": name, "version": "$LATEST",
        "memory": 256, "group": f"/aws/lambda/{name}", "custom": {"b": "c"}, "count": 1,
    }  # fmt: skip
    assert "Init Duration" in answer["LogResult"]
    assert functions.invoke(name, {})["Payload"]["count"] == 2
    assert functions.invoke(deploy(""), {"n": 1})["Payload"]["event"] == {"n": 1}  # a class alone is a handler, too


def test_other_forms_of_handlers(functions: Functions, deploy: Deploy):
    """Streams, POJOs and plain methods."""
    assert functions.invoke(deploy("$Streams::handleRequest"), {"big": "x" * 900_000})["Payload"] == {"big": "x" * 900_000}
    assert functions.invoke(deploy("::older"), {"name": "Ada", "age": 36})["Payload"] == {"name": "Ada", "age": 37}
    assert functions.invoke(deploy("::text"), "hello")["Payload"] == "got hello"


def test_what_a_function_sees(functions: Functions, deploy: Deploy):
    """Variables, heap, working directory and child processes are as AWS's, whichever way the virtual machine was started."""
    for wrapped in (False, True):
        variables = {"CUSTOM": "küche"} | ({"JAVA_TOOL_OPTIONS": "-Dmine=1"} if wrapped else {})
        name = deploy("::process", files={"data.txt": "relative"}, MemorySize=512, Environment={"Variables": variables})
        seen = functions.invoke(name, {})["Payload"]
        environment = seen["environment"]
        assert environment["CUSTOM"] == "küche" and environment["AWS_LAMBDA_FUNCTION_NAME"] == name
        assert environment["AWS_EXECUTION_ENV"] == "AWS_Lambda_java17" and environment["LAMBDA_TASK_ROOT"] == "/var/task"
        assert "_LAMBDA_TELEMETRY_LOG_FD" in environment and "LAMBDAD_STEM_FD" not in environment
        assert seen["child"] == "küche\n/var/task\n" and seen["directory"] == "/var/task" and seen["file"] == "relative"
        assert 0.75 * 512 < seen["heap"] / 2**20 < 0.86 * 512  # 85 % less what the collector keeps to itself
        assert "-XX:TieredStopAtLevel=1" in seen["options"] and "-XX:+UseSerialGC" in seen["options"]
        assert ("-Dmine=1" in seen["options"]) is wrapped
    assert any("Picked up JAVA_TOOL_OPTIONS" in line for line in functions.log_lines(name))


def test_a_zip_with_a_jar_in_lib_and_a_layer(functions: Functions, compiled: dict[str, str | bytes], classes: dict[str, str | bytes]):
    """Jars in lib are on the class path, an uber-jar is a zip of classes, and layers' jars in /opt/java/lib come last."""
    jar = zipped({name: content for name, content in compiled.items() if name.startswith("layer/")})
    layer = functions.client.publish_layer_version(LayerName="greeting", Content={"ZipFile": zipped({"java/lib/greeting.jar": jar})})
    name = functions.deploy(
        {"lib/handlers.jar": zipped(classes)},
        handler="example.Handlers::layered",
        runtime=RUNTIME,
        Timeout=20,
        Layers=[layer["LayerVersionArn"]],
    )
    assert functions.invoke(name)["Payload"] == "from a layer"
    uber = {**classes, "META-INF/MANIFEST.MF": "Manifest-Version: 1.0\r\n"}
    name = functions.deploy(uber, handler="example.Handlers::text", runtime="java11", Timeout=20)
    assert functions.invoke(name, "x")["Payload"] == "got x"
    assert functions.invoke(functions.deploy(uber, handler="example.Handlers::layered", runtime=RUNTIME, Timeout=20))["Payload"][
        "errorType"
    ] == ("java.lang.ClassNotFoundException")


def test_errors(functions: Functions, deploy: Deploy):
    """What is thrown reaches the caller as AWS's payload, and the log as one event."""
    name = deploy("::fail")
    answer = functions.invoke(name, {"do": "it"}, LogType="Tail")
    payload = answer["Payload"]
    assert answer["FunctionError"] == "Unhandled" and list(payload) == ["errorMessage", "errorType", "stackTrace"]
    assert (payload["errorMessage"], payload["errorType"]) == ("bad it", "java.lang.IllegalArgumentException")
    assert payload["stackTrace"][0].startswith("example.Handlers.fail(Handlers.java:")
    first = "bad it: java.lang.IllegalArgumentException"
    event = next(line for line in functions.log_lines(name, until=first) if line.startswith(first))  # written after the answer was sent
    assert re.fullmatch(r"bad it: java\.lang\.IllegalArgumentException\njava\.lang\.IllegalArgumentException: bad it\n(\tat .*\n?)+", event)
    caused = functions.invoke(name, {"do": "cause"})
    assert caused["Payload"]["errorType"] == "java.lang.IllegalStateException"
    lines = functions.log_lines(name, until="outer: java.lang.IllegalStateException")
    assert any("Caused by: java.lang.IllegalArgumentException: inner" in line for line in lines)
    exits = functions.invoke(name, {"do": "exit"})["Payload"]
    assert exits["errorType"] == "Runtime.ExitError" and exits["errorMessage"].endswith("Runtime exited with error: exit status 3")
    memory = functions.invoke(name, {"do": "memory"})["Payload"]
    assert memory["errorType"] in ("java.lang.OutOfMemoryError", "Runtime.ExitError", "Runtime.OutOfMemory")
    assert functions.invoke(name, {"do": "it"})["Payload"]["errorMessage"] == "bad it"


def test_errors_of_init(functions: Functions, deploy: Deploy):
    """A missing class or method, and a class that cannot be initialised."""
    missing = functions.invoke(functions.deploy({"x": "y"}, handler="example.Nothing::here", runtime=RUNTIME, Timeout=20))
    assert missing["FunctionError"] == "Unhandled"
    assert missing["Payload"] == {"errorMessage": "Class not found: example.Nothing", "errorType": "java.lang.ClassNotFoundException"}
    method = functions.invoke(deploy("::nowhere"))["Payload"]
    assert method["errorMessage"].startswith("No public method named nowhere with appropriate method signature")
    name = deploy("$Broken::handle")
    broken = functions.invoke(name, {})
    assert broken["FunctionError"] == "Unhandled" and "example.Handlers$Broken" in broken["Payload"]["errorMessage"]
    eventually(lambda: any("not today" in line for line in functions.log_lines(name)), "the record of the error")


def test_a_timeout(functions: Functions, deploy: Deploy):
    """A handler that takes too long is ended, and the next invocation gets a new virtual machine."""
    name = deploy("::fail", Timeout=2)
    answer = functions.invoke(name, {"do": "sleep"})["Payload"]
    assert answer["errorType"] == "Sandbox.Timedout" and answer["errorMessage"].endswith("Task timed out after 2.00 seconds")
    assert functions.invoke(name, {"do": "it"})["Payload"]["errorMessage"] == "bad it"


def test_logs(functions: Functions, deploy: Deploy):
    """LambdaLogger writes whole records; in JSON, with levels and AWSRequestId."""
    name = deploy("::log")
    functions.invoke(name, {})
    lines = functions.log_lines(name)
    assert "printed" in lines and "one\ntwo" in lines and "[WARN] careful" in lines
    name = deploy("::log", LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "WARN"})
    answer = functions.invoke(name, {})
    lines = functions.log_lines(name, until='{"time"', count=3)
    warned = next(line for line in lines if "careful" in line)
    assert f'"AWSRequestId":"{answer["ResponseMetadata"]["RequestId"]}"' in warned and '"level":"WARN"' in warned
    assert not any("quiet" in line for line in lines)


def test_a_wrapper_script(functions: Functions, deploy: Deploy):
    """AWS_LAMBDA_EXEC_WRAPPER gets the command line of the virtual machine, and may add to it."""
    wrapper = '#!/bin/sh\nprogram=$1; shift\nexec "$program" -Dwrapped=yes "$@"\n'
    name = deploy(
        "::process",
        files={"wrapper": wrapper},
        modes={"wrapper": 0o755},
        Environment={"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrapper"}},
    )
    assert "-Dwrapped=yes" in functions.invoke(name, {})["Payload"]["options"]


def test_the_least_memory(functions: Functions, deploy: Deploy):
    """A small function runs in 128 MB, on every virtual machine that is there."""
    for runtime in ("java8.al2", "java17", "java25"):
        name = deploy("::handleRequest", MemorySize=128, runtime=runtime)
        for number in range(1, 4):
            assert functions.invoke(name, {"n": number})["Payload"]["count"] == number


def test_awss_client_in_a_zip_is_a_custom_runtime(functions: Functions, runtimes_dir: Path, classes: dict[str, str | bytes]):
    """The jars run unchanged as a program of the function's own, as AWS describes for container images."""
    jars = {f"lib/{path.name}": path.read_bytes() for path in (runtimes_dir / "java/lib").glob("*.jar")}
    java = next((path for path in Path("/usr/lib/jvm").glob("*/bin/java") if not (path.parents[1] / "lib/jvm.cfg").is_symlink()), None)
    if java is None:
        pytest.skip("this system's Java keeps its settings in /etc, which only Java functions see")
    client = "com.amazonaws.services.lambda.runtime.api.client.AWSLambda"
    bootstrap = f'#!/bin/sh\nexec {java} -XX:+UseSerialGC -cp "./lib/*" {client} "$_HANDLER"\n'
    files = {**jars, **classes, "bootstrap": bootstrap}
    options = {"runtime": "provided.al2023", "handler": "example.Handlers::text", "Timeout": 30, "MemorySize": 512}
    name = functions.deploy(files, modes={"bootstrap": 0o755}, **options)
    assert functions.invoke(name, "y")["Payload"] == "got y"


def test_without_the_client(own_lambdad: Callable[..., Lambdad], tmp_path: Path, classes: dict[str, str | bytes]):
    """Where it is not installed, invoking says how to install it."""
    running = own_lambdad(environment={"LAMBDAD_RUNTIMES_DIR": str(tmp_path / "none")})
    functions = Functions(running, "without")
    name = functions.deploy(classes, handler="example.Handlers::text", runtime=RUNTIME)
    with pytest.raises(functions.client.exceptions.InvalidRuntimeException, match="lambdad runtimes install java"):
        functions.invoke(name, "x")


def test_the_archive_of_classes_fits(functions: Functions, deploy: Deploy, fenced_java: None):
    """What the rehearsal recorded is what a function's virtual machine takes its classes from."""
    for runtime in ("java17", "java25"):
        variables = {"JAVA_TOOL_OPTIONS": "-Xlog:class+load:file=/tmp/loaded"}
        name = deploy("::loaded", runtime=runtime, MemorySize=1024, Environment={"Variables": variables})
        lines = str(functions.invoke(name, {})["Payload"]).splitlines()
        archived = [line for line in lines if "shared objects file (top)" in line]
        assert any("services.lambda.runtime.api.client.AWSLambda " in line for line in archived), runtime
        assert len(archived) > 200
