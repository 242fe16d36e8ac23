"""Knows Amazon SQS: queues, messages, who waits for them. Does not know who sends or what the messages mean."""
