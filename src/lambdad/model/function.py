"""Functions, their versions and aliases, as values.

The members of the enumerations are AWS's strings. Conversion to and from the API's dictionaries is done in
`services.lambda_`, once; here names are ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from lambdad.model import arn as arns
from lambdad.model.ids import AccountId, Region

LATEST = arns.LATEST


class State(StrEnum):
    """Whether a function or version can be invoked."""

    PENDING = "Pending"
    ACTIVE = "Active"
    INACTIVE = "Inactive"
    FAILED = "Failed"
    DEACTIVATING = "Deactivating"
    DEACTIVATED = "Deactivated"
    ACTIVE_NON_INVOCABLE = "ActiveNonInvocable"
    DELETING = "Deleting"


class StateReasonCode(StrEnum):
    """Why a state is what it is; the ones of AWS's list that lambdad gives."""

    CREATING = "Creating"
    INTERNAL_ERROR = "InternalError"
    INVALID_RUNTIME = "InvalidRuntime"
    INVALID_ZIP_FILE = "InvalidZipFileException"
    FUNCTION_ERROR_INIT_TIMEOUT = "FunctionError.InitTimeout"
    FUNCTION_ERROR_RUNTIME_INIT = "FunctionError.RuntimeInitError"
    FUNCTION_ERROR_INVALID_ENTRYPOINT = "FunctionError.InvalidEntryPoint"
    FUNCTION_ERROR_INIT_RESOURCES = "FunctionError.InitResourceExhausted"


class LastUpdateStatus(StrEnum):
    """How the last update of a function went."""

    SUCCESSFUL = "Successful"
    FAILED = "Failed"
    IN_PROGRESS = "InProgress"


class InvocationType(StrEnum):
    """How the caller of Invoke waits."""

    REQUEST_RESPONSE = "RequestResponse"
    EVENT = "Event"
    DRY_RUN = "DryRun"


class LogType(StrEnum):
    """Whether the end of the log is sent back with the answer."""

    NONE = "None"
    TAIL = "Tail"


class PackageType(StrEnum):
    """How a function's code is packed."""

    ZIP = "Zip"
    IMAGE = "Image"


class Architecture(StrEnum):
    """What processor a function's code is for."""

    X86_64 = "x86_64"
    ARM64 = "arm64"


class TracingMode(StrEnum):
    """Whether invocations are sampled for traces."""

    ACTIVE = "Active"
    PASS_THROUGH = "PassThrough"


class LogFormat(StrEnum):
    """What a function's log lines look like."""

    JSON = "JSON"
    TEXT = "Text"


class SnapStartApplyOn(StrEnum):
    """What is snapshotted after its Init phase."""

    PUBLISHED_VERSIONS = "PublishedVersions"
    NONE = "None"


class FunctionKey(NamedTuple):
    """What identifies a function: one name in one region of one account."""

    account: AccountId
    region: Region
    name: str


@dataclass(frozen=True, slots=True)
class LayerReference:
    """A layer version that a function uses, with what is needed to mount it after the layer itself was deleted."""

    arn: str
    code_sha256: str  # hex
    code_size_bytes: int  # zipped
    unzipped_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionVersion:
    """``$LATEST`` or one published version: all that is needed to show it and to run it.

    ``deployment_id`` names what runs: it changes when code or configuration change and with each publish, but not when
    only the RevisionId does (tags, permissions). Environments of equal ``deployment_id`` are interchangeable.
    """

    account: AccountId
    region: Region
    name: str
    version: str = LATEST  # "$LATEST" or digits
    deployment_id: str
    revision_id: str
    last_modified: str  # "2025-11-25T02:26:54.000+0000"
    description: str = ""
    description_of_latest: str = ""  # of a published version: what `$LATEST` said when it was published

    runtime: str | None
    handler: str | None
    role: str
    timeout_s: int
    memory_mib: int
    ephemeral_storage_mib: int
    environment: Mapping[str, str] | None = None  # None: never set; {}: set to nothing
    package_type: PackageType = PackageType.ZIP
    architectures: tuple[Architecture, ...] = (Architecture.X86_64,)
    code_sha256: str  # hex of the zip's bytes; the API shows base64
    code_size_bytes: int  # zipped
    code_unzipped_bytes: int = 0
    layers: tuple[LayerReference, ...] = ()
    runtime_version_arn: str | None = None

    tracing_mode: TracingMode = TracingMode.PASS_THROUGH
    log_format: LogFormat = LogFormat.TEXT
    application_log_level: str | None = None  # only with JSON: TRACE..FATAL
    system_log_level: str | None = None  # only with JSON: DEBUG, INFO, WARN
    log_group: str
    snap_start: SnapStartApplyOn = SnapStartApplyOn.NONE
    dead_letter_target: str = ""  # the ARN of a queue or a topic; "": none
    has_vpc_config: bool = False  # an empty VpcConfig was given, and is shown as AWS shows it

    state: State = State.PENDING
    state_reason: str | None = None
    state_reason_code: str | None = None
    last_update_status: LastUpdateStatus | None = None  # None until first Active
    last_update_status_reason: str | None = None
    last_update_status_reason_code: str | None = None

    @property
    def has_snapshots(self) -> bool:
        """Whether environments of this version are restored from a snapshot, and not initialised one by one."""
        return self.snap_start is SnapStartApplyOn.PUBLISHED_VERSIONS and self.version != LATEST

    @property
    def key(self) -> FunctionKey:
        """The function this is a version of."""
        return FunctionKey(self.account, self.region, self.name)

    @property
    def arn(self) -> str:
        """The function's ARN, without a version."""
        return arns.function(self.account, self.region, self.name)

    @property
    def qualified_arn(self) -> str:
        """The ARN that ends in ``:$LATEST`` or the version's number."""
        return arns.function(self.account, self.region, self.name, self.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A name for a version, which may send a share of its invocations to a second one."""

    name: str
    arn: str
    function_version: str
    additional: tuple[tuple[str, float], ...] = ()  # (version, weight 0.0..1.0), at most one
    description: str = ""
    revision_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionedConcurrency:
    """Environments to be kept initialised for a version or an alias."""

    requested: int  # >= 1
    last_modified: str  # "2025-11-25T02:42:49+0000"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventInvokeConfig:
    """How asynchronous invocations are retried, and who hears of their ends."""

    maximum_retry_attempts: int | None = None  # 0..2; None: the default
    maximum_event_age_s: int | None = None  # 60..21,600; None: the default
    on_success: str = ""  # the ARN of a destination; "": none
    on_failure: str = ""
    last_modified_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function with all that belongs to it; its invariants hold between any two changes.

    ``latest`` is what the API shows for ``$LATEST``. ``serving`` is what runs for ``$LATEST``: equal to ``latest`` except
    while an update is in progress (then it is the version before the update), and None until the function was Active.
    ``policies`` maps a qualifier ("" for the unqualified function) to its resource policy, a JSON document as text.
    """

    account: AccountId
    region: Region
    name: str
    latest: FunctionVersion
    serving: FunctionVersion | None = None
    versions: Mapping[str, FunctionVersion] = field(default_factory=dict)  # published, by number, ascending
    aliases: Mapping[str, Alias] = field(default_factory=dict)
    policies: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    reserved_concurrency: int | None = None  # None: none reserved; 0: may not run
    provisioned: Mapping[str, ProvisionedConcurrency] = field(default_factory=dict)  # by version's number or alias's name
    event_invoke_configs: Mapping[str, EventInvokeConfig] = field(default_factory=dict)  # by qualifier, ``$LATEST`` for the function
    next_version: int = 1  # never goes back, not even after deletion

    @property
    def key(self) -> FunctionKey:
        """What identifies the function."""
        return FunctionKey(self.account, self.region, self.name)

    @property
    def arn(self) -> str:
        """The unqualified ARN."""
        return arns.function(self.account, self.region, self.name)

    @property
    def provisioned_concurrency(self) -> int:
        """All that is provisioned for the function's versions and aliases together."""
        return sum(each.requested for each in self.provisioned.values()) if self.provisioned else 0

    @property
    def claimed_concurrency(self) -> int:
        """What the function keeps from the account's unreserved pool: its reservation, or what is provisioned where it has none."""
        return self.reserved_concurrency if self.reserved_concurrency is not None else self.provisioned_concurrency

    def version(self, version: str) -> FunctionVersion | None:
        """Give ``$LATEST`` as shown, or a published version; None where there is none of that number."""
        return self.latest if version == LATEST else self.versions.get(version)
