"""Calls from one service to another that must not be lost: kept as rows, made at least once, retried, given up to a dead-letter queue.

Knows the neighbours' port and its own table. Does not know any service, nor what a delivery means.
"""

from lambdad.services.outbox.delivery import DeadLetter, Delivery
from lambdad.services.outbox.outbox import Outbox, Statistics, migrations

__all__ = ["DeadLetter", "Delivery", "Outbox", "Statistics", "migrations"]
