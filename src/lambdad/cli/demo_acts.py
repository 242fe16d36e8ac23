"""The acts of `lambdad demo`: a picture arrives in a bucket, the clock strikes, a queue is worked off."""

import functools
import json
import statistics
import time
from concurrent import futures
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from lambdad.cli.demo_stage import ACCOUNT, CODE, REGION, Stage

PICTURES = 10
ORDERS = 1_000
SCHEDULE_AHEAD_S = 3
_PHOTOS, _THUMBNAILS = "demo-photos", "demo-thumbnails"
_BATCH = 10
_SENDERS = 4


def thumbnails(stage: Stage, picture: Path, layer: bytes | None) -> None:
    """A picture that is copied into a bucket makes a function write a thumbnail into another one."""
    stage.title("A picture arrives in a bucket")
    s3, lambda_ = stage.client("s3"), stage.client("lambda")
    for bucket in (CODE, _PHOTOS, _THUMBNAILS):
        s3.create_bucket(Bucket=bucket)
    layers: tuple[str, ...] = ()
    if layer is not None:
        s3.put_object(Bucket=CODE, Key="pillow.zip", Body=layer)
        published = lambda_.publish_layer_version(LayerName="pillow", Content={"S3Bucket": CODE, "S3Key": "pillow.zip"})
        layers = (published["LayerVersionArn"],)
        stage.say(f"Pillow is a layer of {len(layer):,} bytes.")
    arn = stage.deploy("thumbnail", "thumbnail.py", layers=layers, Timeout=60, Environment={"Variables": {"THUMBNAILS": _THUMBNAILS}})
    stage.allow("thumbnail", "s3.amazonaws.com", f"arn:aws:s3:::{_PHOTOS}")
    notification = {"LambdaFunctionArn": arn, "Events": ["s3:ObjectCreated:*"]}
    s3.put_bucket_notification_configuration(Bucket=_PHOTOS, NotificationConfiguration={"LambdaFunctionConfigurations": [notification]})
    stage.say(f"The function thumbnail hears of every object in {_PHOTOS}.")

    key = f"first{picture.suffix.lower()}"
    if not stage.aws("s3", "cp", str(picture), f"s3://{_PHOTOS}/{key}", "--no-progress"):
        s3.upload_file(str(picture), _PHOTOS, key)
    said = stage.wait("the first thumbnail", 60, lambda: next(iter(stage.logged("thumbnail", '{ $.thumbnail = "*" }')), None))
    target = stage.out / "thumbnail.png"
    s3.download_file(_THUMBNAILS, "first.png", str(target))
    stage.say(
        f"{picture.stat().st_size:,} bytes became {said['width']} x {said['height']} pixels, {target.stat().st_size:,} bytes: {target}"
    )
    stage.summary.append(("picture in the bucket to thumbnail, cold", f"{said['since_arrival_ms']:,.0f} ms"))

    body = picture.read_bytes()
    for number in range(PICTURES):
        name = f"photo-{number}"
        s3.put_object(Bucket=_PHOTOS, Key=f"{name}{picture.suffix.lower()}", Body=body)
        stage.wait(f"the thumbnail of {name}", 60, functools.partial(_there, s3, name))
    warm = stage.wait("their log", 60, lambda: _all(stage.logged("thumbnail", '{ $.thumbnail = "photo*" }'), PICTURES))
    stage.say(f"And {PICTURES} more, one by one.")
    took_ms = statistics.median(each["since_arrival_ms"] for each in warm)
    in_function_ms = statistics.median(each["handler_ms"] for each in warm)
    stage.summary.append((f"the same, warm (median of {PICTURES})", f"{took_ms:,.0f} ms, {in_function_ms:,.0f} of them in the function"))


def schedule(stage: Stage) -> None:
    """A schedule starts a function at a second that is named."""
    stage.title("The clock strikes")
    nodes = [name for name in stage.runtimes() if name.startswith("nodejs")]
    if nodes:
        runtime = "nodejs22.x" if "nodejs22.x" in nodes else nodes[-1] if nodes[-1].endswith(".x") else f"{nodes[-1]}.x"
        arn = stage.deploy("reminder", "reminder.mjs", runtime=runtime, Timeout=10)
    else:
        stage.say("No Node.js on this machine (see `lambdad doctor`): the function is one in Python.")
        arn = stage.deploy("reminder", "reminder.py", Timeout=10)
    planned = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=SCHEDULE_AHEAD_S)
    expression = f"at({planned:%Y-%m-%dT%H:%M:%S})"
    target = {"Arn": arn, "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/scheduler", "Input": json.dumps({"planned": planned.isoformat()})}
    stage.client("scheduler").create_schedule(
        Name="reminder",
        ScheduleExpression=expression,
        FlexibleTimeWindow={"Mode": "OFF"},
        Target=target,
        ActionAfterCompletion="DELETE",
    )
    stage.say(f"The schedule reminder says {expression}. It is {datetime.now(UTC):%H:%M:%S} UTC.")
    said = stage.wait(
        "the scheduled call", SCHEDULE_AHEAD_S + 60, lambda: next(iter(stage.logged("reminder", '{ $.planned = "*" }')), None)
    )
    late_ms = (datetime.fromisoformat(said["started"].replace("Z", "+00:00")) - planned).total_seconds() * 1000
    stage.say(f"The function started at {said['started']}.")
    stage.summary.append(("schedule to function, cold", f"{late_ms:,.0f} ms late"))


def queue(stage: Stage) -> None:
    """A function works off a queue, ten messages at a time; what fails comes back."""
    stage.title("A queue is worked off")
    sqs, lambda_ = stage.client("sqs"), stage.client("lambda")
    url = sqs.create_queue(QueueName="demo-orders", Attributes={"VisibilityTimeout": "2"})["QueueUrl"]
    stage.deploy("orders", "orders.py", Timeout=2)
    lambda_.create_event_source_mapping(
        FunctionName="orders",
        EventSourceArn=f"arn:aws:sqs:{REGION}:{ACCOUNT}:demo-orders",
        BatchSize=_BATCH,
        FunctionResponseTypes=["ReportBatchItemFailures"],
    )
    stage.say(f"{ORDERS:,} orders; every 50th fails when it is seen for the first time, and comes back after two seconds.")

    def send(begin: int) -> None:
        entries = [{"Id": str(number), "MessageBody": json.dumps({"order": number})} for number in range(begin, begin + _BATCH)]
        if failed := sqs.send_message_batch(QueueUrl=url, Entries=entries).get("Failed"):
            raise RuntimeError(failed)

    began_s = time.perf_counter()
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=stage.console, transient=not stage.console.is_terminal) as progress:
        sent = progress.add_task("sent", total=ORDERS)
        handled = progress.add_task("handled", total=ORDERS)
        with futures.ThreadPoolExecutor(_SENDERS) as senders:
            for _ in senders.map(send, range(0, ORDERS, _BATCH)):
                progress.advance(sent, _BATCH)
        first_s = 0.0

        def look() -> bool | None:
            nonlocal first_s
            lines = stage.logged("orders", "{ $.failed >= 0 }")
            numbers = {number for line in lines for number in line["handled"]}
            progress.update(handled, completed=len(numbers))
            if not first_s and len(numbers) >= ORDERS * 49 // 50:
                first_s = time.perf_counter() - began_s
            return True if len(numbers) == ORDERS else None

        stage.wait("the last order", 120, look)
    lines = stage.logged("orders", "{ $.failed >= 0 }")
    numbers = [number for line in lines for number in line["handled"]]
    failed = sum(line["failed"] for line in lines)
    stage.say(f"All {len(set(numbers)):,} orders were handled, by {len(lines):,} invocations; {failed} had failed and came again.")
    stage.summary.append((f"{ORDERS - ORDERS // 50:,} messages sent and handled", f"{first_s:.2f} s, {ORDERS / first_s:,.0f} a second"))


def _there(s3: Any, prefix: str) -> Any:
    return s3.list_objects_v2(Bucket=_THUMBNAILS, Prefix=prefix).get("Contents")


def _all(found: list[dict[str, Any]], count: int) -> list[dict[str, Any]] | None:
    return found if len(found) >= count else None
