"""Identifiers as types, so that one cannot be passed for another."""

from typing import NewType

AccountId = NewType("AccountId", str)  # twelve digits
Region = NewType("Region", str)  # us-east-1
RequestId = NewType("RequestId", str)  # UUID, lower case with hyphens
EnvironmentId = NewType("EnvironmentId", str)  # 32 hex digits; the last part of the log stream's name
