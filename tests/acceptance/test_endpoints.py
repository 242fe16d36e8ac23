"""Services that are elsewhere: one lambdad's destinations in another lambdad's queues."""

import json
from collections.abc import Callable

from conftest import Functions, Lambdad, eventually

SOURCE = "def handler(event, context):\n    return event\n"


def test_destinations_go_to_the_endpoint(lambdad: Lambdad, own_lambdad: Callable[..., Lambdad]) -> None:
    """What one lambdad sends to SQS arrives at the server that it was told of, in the right account."""
    sqs = lambdad.client("sqs", aws_access_key_id="111122223333")
    queue = sqs.create_queue(QueueName="elsewhere")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    assert ":111122223333:" in arn
    own = own_lambdad(environment={"LAMBDAD_ENDPOINTS": f"sqs={lambdad.url}"})
    client = own.client("lambda", aws_access_key_id="111122223333")
    functions = Functions(own, "elsewhere")
    functions.client = client
    name = functions.deploy(SOURCE)
    client.put_function_event_invoke_config(FunctionName=name, DestinationConfig={"OnSuccess": {"Destination": arn}})
    client.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"to": "elsewhere"}')
    (message,) = eventually(lambda: sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=5).get("Messages"), "a message", 30)
    assert json.loads(message["Body"])["requestPayload"] == {"to": "elsewhere"}
    assert own.stop() == 0
    sqs.delete_queue(QueueUrl=queue)
