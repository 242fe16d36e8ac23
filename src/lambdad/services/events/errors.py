"""What callers of EventBridge are told, in AWS's words.

AwsError
├── InvalidValue            "ValidationException": a value breaks a rule of the service
├── InvalidPattern          "InvalidEventPatternException"
├── BusMissing, RuleMissing, ArchiveMissing, ReplayMissing, StatementMissing, ArnMissing     "ResourceNotFoundException"
├── BusExists, ArchiveExists, ReplayExists      "ResourceAlreadyExistsException"
├── LimitExceeded           "LimitExceededException"
├── PolicyTooLong           "PolicyLengthExceededException"
└── IllegalStatus           "IllegalStatusException": a replay is not under way
"""

from lambdad.model.errors import AwsError


class InvalidValue(AwsError):
    """A value breaks a rule of the service."""

    def __init__(self, message: str) -> None:
        super().__init__("ValidationException", message)


class InvalidPattern(AwsError):
    """An event pattern breaks the grammar."""

    def __init__(self, reason: str) -> None:
        super().__init__("InvalidEventPatternException", f"Event pattern is not valid. Reason: {reason}")


class _NotFound(AwsError):
    def __init__(self, message: str) -> None:
        super().__init__("ResourceNotFoundException", message)


class BusMissing(_NotFound):
    """There is no bus of that name in the account and region."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Event bus {name} does not exist.")


class RuleMissing(_NotFound):
    """There is no rule of that name on the bus."""

    def __init__(self, name: str, bus: str) -> None:
        super().__init__(f"Rule {name} does not exist on EventBus {bus}.")


class ArchiveMissing(_NotFound):
    """There is no archive of that name in the account and region."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Archive {name} does not exist.")


class ReplayMissing(_NotFound):
    """There is no replay of that name in the account and region."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Replay {name} does not exist.")


class StatementMissing(_NotFound):
    """The bus's policy has no such statement, or there is no policy."""

    def __init__(self, message: str = "Statement with the provided id does not exist.") -> None:
        super().__init__(message)


class ArnMissing(_NotFound):
    """An ARN names nothing that has tags here."""

    def __init__(self, arn: str) -> None:
        super().__init__(f"Resource {arn} does not exist.")


class _AlreadyExists(AwsError):
    def __init__(self, message: str) -> None:
        super().__init__("ResourceAlreadyExistsException", message)


class BusExists(_AlreadyExists):
    """The name is taken."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Event bus {name} already exists.")


class ArchiveExists(_AlreadyExists):
    """The name is taken."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Archive {name} already exists.")


class ReplayExists(_AlreadyExists):
    """The name is taken."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Replay {name} already exists.")


class LimitExceeded(AwsError):
    """There would be more of something than there may be."""

    def __init__(self) -> None:
        super().__init__("LimitExceededException", "The requested resource exceeds the maximum number allowed.")


class PolicyTooLong(AwsError):
    """A bus's policy would be longer than 10,240 bytes."""

    def __init__(self) -> None:
        super().__init__("PolicyLengthExceededException", "The policy length exceeds the limit.")


class IllegalStatus(AwsError):
    """A replay is not in a state in which it can be cancelled."""

    def __init__(self, name: str) -> None:
        super().__init__("IllegalStatusException", f"Replay {name} is not in a valid state for this operation.")
