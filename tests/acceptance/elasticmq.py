"""ElasticMQ, an SQS-speaking server of somebody else's, fetched from Maven Central."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

VERSION = "1.6.9"
_POM = f"""<project><modelVersion>4.0.0</modelVersion><groupId>lambdad</groupId><artifactId>test</artifactId><version>1</version>
<packaging>pom</packaging><dependencies><dependency><groupId>org.elasticmq</groupId><artifactId>elasticmq-server_2.13</artifactId>
<version>{VERSION}</version></dependency></dependencies></project>
"""
_CONFIGURATION = """
include classpath("application.conf")
node-address {{ protocol = http, host = "127.0.0.1", port = {port}, context-path = "" }}
rest-sqs {{ enabled = true, bind-port = {port}, bind-hostname = "127.0.0.1", sqs-limits = strict }}
rest-stats {{ enabled = false }}
aws {{ region = "us-east-1", accountId = "000000000000" }}
"""


def fetched(directory: Path) -> Path:
    """Return the directory with the jars; skips the test by name where they cannot be had."""
    maven = shutil.which("mvn")
    if maven is None or shutil.which("java") is None:
        pytest.skip("ElasticMQ needs Maven and Java")
    pom = directory / "pom.xml"
    pom.write_text(_POM)
    plugin = "org.apache.maven.plugins:maven-dependency-plugin:3.6.0:copy-dependencies"
    command = [maven, "-B", "-q", "-f", str(pom), plugin, f"-DoutputDirectory={directory / 'jars'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip("ElasticMQ cannot be fetched: " + "; ".join((done.stdout + done.stderr).splitlines()[:2]))
    return directory / "jars"


@contextlib.contextmanager
def running(jars: Path, directory: Path) -> Iterator[str]:
    """Run the server; give its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    configuration = directory / "elasticmq.conf"
    configuration.write_text(_CONFIGURATION.format(port=port))
    command = ["java", "-Xmx256m", f"-Dconfig.file={configuration}", "-cp", f"{jars}/*", "org.elasticmq.server.Main"]
    with (directory / "elasticmq.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait_for(process, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(process: "subprocess.Popen[bytes]", port: int) -> None:
    until_s = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until_s:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise AssertionError("ElasticMQ did not start")
