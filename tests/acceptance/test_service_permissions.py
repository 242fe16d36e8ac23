"""A service needs a permission to invoke a function: a topic with and without one."""

import json
import os

from conftest import Functions, Lambdad, eventually

SOURCE = """
def handler(event, context):
    print("heard " + event["Records"][0]["Sns"]["Message"])
"""


def test_a_topic_invokes_what_lets_it_in(functions: Functions, lambdad: Lambdad) -> None:
    """Refused, its message goes to the dead-letter queue; let in by its ARN, it reaches the function; another topic does not."""
    client, sns, sqs = functions.client, lambdad.client("sns"), lambdad.client("sqs")
    name = functions.deploy(SOURCE)
    function_arn = client.get_function_configuration(FunctionName=name)["FunctionArn"]
    queue = sqs.create_queue(QueueName=f"dead-{os.urandom(4).hex()}")["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    allow = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": queue_arn}
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps({"Version": "2012-10-17", "Statement": [allow]})})

    def topic() -> str:
        arn: str = sns.create_topic(Name=f"t{os.urandom(4).hex()}")["TopicArn"]
        redrive = json.dumps({"deadLetterTargetArn": queue_arn})
        sns.subscribe(TopicArn=arn, Protocol="lambda", Endpoint=function_arn, Attributes={"RedrivePolicy": redrive})
        return arn

    def dead() -> str:
        """Wait for a dead letter, and return what was to be said."""
        messages = eventually(lambda: sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=5).get("Messages"), "a dead letter", 30)
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=messages[0]["ReceiptHandle"])
        return str(json.loads(messages[0]["Body"])["Message"])

    first, second = topic(), topic()
    sns.publish(TopicArn=first, Message="one")
    assert dead() == "one"
    client.add_permission(
        FunctionName=name, StatementId="s", Action="lambda:InvokeFunction", Principal="sns.amazonaws.com", SourceArn=first
    )
    sns.publish(TopicArn=first, Message="two")
    assert any("heard two" in line for line in functions.log_lines(name))
    sns.publish(TopicArn=second, Message="three")
    assert dead() == "three"
    deny = {"Effect": "Deny", "Principal": "*", "Action": "lambda:*", "Resource": function_arn}
    grant = {"Effect": "Allow", "Principal": "*", "Action": "lambda:InvokeFunction", "Resource": function_arn}
    document = json.dumps({"Version": "2012-10-17", "Statement": [grant, deny]})
    client.put_resource_policy(ResourceArn=function_arn, Policy=document)
    sns.publish(TopicArn=first, Message="four")
    assert dead() == "four"
