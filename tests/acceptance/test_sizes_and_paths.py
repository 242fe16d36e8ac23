"""What a function's configuration promises it: memory, files, architecture; and where layers are found."""

import os
from typing import Any

import pytest

from conftest import PYTHON, ROLE, Functions, Lambdad, zipped

FILLS = """
import os, shutil
def handler(event, context):
    free = shutil.disk_usage("/tmp").total
    written = 0
    with open("/tmp/file", "wb") as file:
        while written < event["mib"]:
            file.write(b"x" * (1 << 20))
            written += 1
    size = os.path.getsize("/tmp/file")
    os.unlink("/tmp/file")
    return [free >> 20, size >> 20]
"""


@pytest.mark.parametrize("size", [512, 1024, 10240])
def test_files_in_tmp(functions: Functions, fenced: None, size: int):
    """/tmp has the size in EphemeralStorage, and can be filled beyond the function's memory."""
    name = functions.deploy(FILLS, Timeout=60, EphemeralStorage={"Size": size})
    assert functions.invoke(name, {"mib": min(size - 16, 700)})["Payload"] == [size, min(size - 16, 700)]


def test_memory(functions: Functions, lambdad: Lambdad, fenced: None):
    """Memory from 128 MB to 10,240 MB; more than a function has is not to be had."""
    source = "def handler(event, context):\n    return [len(bytearray(event['mib'] << 20)) >> 20, context.memory_limit_in_mb]\n"
    if "memory" not in lambdad.health()["worker"]["isolation"]:
        pytest.skip("there are no memory cgroups here")
    small = functions.deploy(source, MemorySize=128, Timeout=30)
    assert functions.invoke(small, {"mib": 64})["Payload"] == [64, "128"]
    assert functions.invoke(small, {"mib": 200})["FunctionError"] == "Unhandled"
    large = functions.deploy(source, MemorySize=10240, Timeout=30)
    assert functions.invoke(large, {"mib": 200})["Payload"] == [200, "10240"]


def test_the_other_architecture_is_refused(functions: Functions, lambdad: Lambdad):
    """What this machine cannot run is refused when a function is made, and when it is changed."""
    other, own = ("arm64", "x86_64") if os.uname().machine == "x86_64" else ("x86_64", "arm64")
    code = zipped({"app.py": "def handler(event, context):\n    return 1\n"})
    client = lambdad.client("lambda")
    text = f"The architecture {other} is not supported by this machine, which runs {own}."
    given: dict[str, Any] = {"Runtime": PYTHON, "Role": ROLE, "Handler": "app.handler", "Code": {"ZipFile": code}}
    with pytest.raises(client.exceptions.InvalidParameterValueException, match=text):
        client.create_function(FunctionName="other-architecture", Architectures=[other], **given)
    name = functions.deploy("def handler(event, context):\n    return 1\n", Architectures=[own])
    with pytest.raises(client.exceptions.InvalidParameterValueException, match=text):
        client.update_function_code(FunctionName=name, ZipFile=code, Architectures=[other])
    assert client.get_function_configuration(FunctionName=name)["Architectures"] == [own]
    assert functions.invoke(name)["Payload"] == 1


def test_layers_are_found(functions: Functions, fenced: None):
    """Programs in /opt/bin, libraries in /opt/lib and packages of the language are where AWS looks for them; the last layer wins."""
    version = PYTHON.removeprefix("python")
    first = {
        "bin/tool": "#!/bin/sh\necho first\n", "python/one.py": "VALUE = 'first'\n", "lib/libx.so": "x",
        f"python/lib/python{version}/site-packages/two.py": "VALUE = 'site'\n",
    }  # fmt: skip
    second = {"bin/tool": "#!/bin/sh\necho second\n"}
    arns = []
    for name, files in (("sizes-one", first), ("sizes-two", second)):
        content = {"ZipFile": zipped(files, {"bin/tool": 0o755})}
        arns.append(functions.client.publish_layer_version(LayerName=name, Content=content)["LayerVersionArn"])
    source = (
        "import os, subprocess, one, two\n"
        "def handler(event, context):\n"
        "    found = [d for d in os.environ['LD_LIBRARY_PATH'].split(':') if os.path.exists(d + '/libx.so')]\n"
        "    return [subprocess.check_output(['tool'], text=True).strip(), one.VALUE, two.VALUE, found]\n"
    )
    name = functions.deploy(source, Layers=arns)
    assert functions.invoke(name)["Payload"] == ["second", "first", "site", ["/opt/lib"]]
