"""Functions as plain processes, for machines that forbid fences: less safe, said loudly, and otherwise the same."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import PYTHON, Functions, Lambdad, zipped  # type: ignore[import-not-found]


@pytest.fixture
def plain(own_lambdad: Callable[..., Lambdad]) -> Iterator[Functions]:
    """Functions on a lambdad without fences."""
    running = own_lambdad(environment={"LAMBDAD_ISOLATION": "plain", "LAMBDAD_FREEZE_AFTER_S": "0.2"})
    assert "isolation NONE" in running.line and running.health()["worker"]["isolation"] == "plain"
    functions = Functions(running, "plain")
    yield functions
    functions.clean()


def test_python(plain: Functions):
    """Answers, errors, exits, timeouts, logs, layers, boto3 and /tmp are as behind a fence."""
    layer = plain.client.publish_layer_version(LayerName="said", Content={"ZipFile": zipped({"python/said.py": "word = 'layered'\n"})})
    name = plain.deploy(
        {
            "app.py": "import boto3, os, pathlib, said, time\nfrom beside import word\nseen = []\n"
            "def handler(event, context):\n    seen.append(event)\n    print('got', event)\n"
            "    if event == 'raise': raise ValueError('no')\n    if event == 'exit': os._exit(3)\n    if event == 'hang': time.sleep(60)\n"
            "    pathlib.Path(os.environ['TMPDIR'], 'mark').touch()\n"
            "    name = boto3.client('lambda').get_function_configuration(FunctionName=context.function_name)['FunctionName']\n"
            "    return [len(seen), word, said.word, name, os.path.basename(os.environ['LAMBDA_TASK_ROOT'])]\n",
            "beside.py": "word = 'beside'\n",
        },
        Layers=[layer["LayerVersionArn"]],
        Timeout=5,
        MemorySize=512,
    )
    first = plain.invoke(name, "a", LogType="Tail")
    assert first["Payload"] == [1, "beside", "layered", name, "task"], first["Payload"]
    assert "\ngot a\n" in first["LogResult"] and "Init Duration" in first["LogResult"]
    assert plain.invoke(name, "b")["Payload"][0] == 2
    assert plain.invoke(name, "raise")["Payload"]["errorType"] == "ValueError"
    assert plain.invoke(name, "exit")["Payload"]["errorMessage"].endswith("exit status 3")
    plain.client.update_function_configuration(FunctionName=name, Timeout=1)
    plain.settle(name)
    assert plain.invoke(name, "hang")["Payload"]["errorType"] == "Sandbox.Timedout"


def test_programs_of_other_kinds(plain: Functions):
    """Node.js and a bootstrap of its own run; one that is missing is said as behind a fence."""
    if shutil.which("node"):
        name = plain.deploy({"index.mjs": "export const handler = async (e) => [e];"}, handler="index.handler", runtime="nodejs22.x")
        assert plain.invoke(name, 1)["Payload"] == [1]
    script = "#!/bin/sh\necho $LAMBDA_TASK_ROOT $_HANDLER\nexit 7\n"
    name = plain.deploy({"bootstrap": script}, modes={"bootstrap": 0o755}, runtime="provided.al2023")
    assert plain.invoke(name)["Payload"]["errorMessage"].endswith("exit status 7")
    name = plain.deploy({"readme": ""}, runtime="provided.al2023")
    text = "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"
    assert plain.invoke(name)["Payload"]["errorMessage"].endswith(text)


def test_nothing_is_left_behind(own_lambdad: Callable[..., Lambdad]):
    """Children that a function leaves end with lambdad, and so do the places that stood for its /tmp."""
    running = own_lambdad(environment={"LAMBDAD_ISOLATION": "plain"})
    functions = Functions(running, "left")
    marker = f"plain-{os.urandom(6).hex()}"
    name = functions.deploy(
        "import os, subprocess, sys\ncode = 'import os, time; os.setsid(); time.sleep(300)'\n"
        f"def handler(event, context):\n    subprocess.Popen([sys.executable, '-c', code, '{marker}'])\n"
        "    return os.environ['TMPDIR']\n",
        runtime=PYTHON,
        MemorySize=512,
    )
    place = Path(functions.invoke(name)["Payload"])
    assert place.is_dir()
    assert running.stop() == 0
    assert not place.exists()
    left = [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit() and marker.encode() in _command(entry)]
    assert left == []


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""
