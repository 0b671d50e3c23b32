"""All settings; no other module reads them from the environment.

Each class serves one concern and reads variables that begin with `TEXTMILL_`; an empty one counts
as not set.
"""

import getpass
import os
from pathlib import Path
from typing import Annotated, TypeVar

import platformdirs
from pydantic import Field, Json, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schema.errors import SettingsError
from schema.urls import check_broker_url, parse_database_url

_FROM_ENVIRONMENT = SettingsConfigDict(
    env_prefix="TEXTMILL_",
    # Compose files and shells pass `NAME=` for a variable that is not set.
    env_ignore_empty=True,
    frozen=True,
    extra="ignore",
)

_YEAR = 31_536_000
"""Most seconds of a setting: neither dates of Postgres nor waits of a thread reach without end."""


def _user_name() -> str:
    """The account's name; in a container, the user id may have none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


class ServiceSettings(BaseSettings):
    """Where the servers are; the embedded stack provides each one whose URL is not set.

    Attributes:
        database_url: `postgresql://user:password@host:port/database`.
        broker_url: `redis://:password@host:port/number`.
        key_prefix: put before every Redis key, since several applications may share a server.
        data_dir: where the embedded stack keeps its data.
    """

    model_config = _FROM_ENVIRONMENT

    database_url: SecretStr | None = None
    broker_url: SecretStr | None = None
    key_prefix: str = "textmill:"
    data_dir: Path = Field(default_factory=lambda: Path(platformdirs.user_data_dir("textmill")))

    @field_validator("database_url")
    @classmethod
    def _of_postgres(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            parse_database_url(url.get_secret_value())
        return url

    @field_validator("broker_url")
    @classmethod
    def _of_redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            check_broker_url(url.get_secret_value())
        return url


class IntakeSettings(BaseSettings):
    """Limits on what a producer may submit, and how a job is cut into chunks.

    Attributes:
        max_document_bytes: longest text, in bytes of UTF-8.
        max_metadata_bytes: largest metadata of a document, in bytes of JSON.
        max_id_characters: longest external id.
        max_job_documents: most documents of a job, rejected ones included.
        chunk_documents: most documents of a chunk.
        chunk_tokens: most estimated tokens of a chunk; a longer document is a chunk of its own.
        load_batch: documents per transaction while a job loads, or fewer if they take 64 MB; a job
            that fits in one is loaded and opened in it.
        abandoned_after: seconds without a batch after which a loading job is purged.
        max_pending: most documents without an outcome at once; None sets no limit.
        max_pending_per_submitter: the most that one submitter may have of these.
        submitter: in whose name jobs are submitted and verdicts given; idempotency keys are unique
            per submitter.
    """

    model_config = _FROM_ENVIRONMENT

    max_document_bytes: Annotated[int, Field(ge=1)] = 1024 * 1024
    max_metadata_bytes: Annotated[int, Field(ge=2)] = 16 * 1024
    # Ids are indexed, and an index entry holds at most 2,700 bytes.
    max_id_characters: Annotated[int, Field(ge=1, le=600)] = 500
    max_job_documents: Annotated[int, Field(ge=1)] = 20_000_000
    chunk_documents: Annotated[int, Field(ge=1)] = 2048
    chunk_tokens: Annotated[int, Field(ge=1)] = 65_536
    load_batch: Annotated[int, Field(ge=1)] = 10_000
    abandoned_after: Annotated[float, Field(gt=0, le=_YEAR)] = 3600
    max_pending: Annotated[int, Field(ge=1)] | None = None
    max_pending_per_submitter: Annotated[int, Field(ge=1)] | None = None
    submitter: Annotated[str, Field(min_length=1)] = Field(default_factory=_user_name)


class DispatchSettings(BaseSettings):
    """How pending chunks reach Redis.

    Attributes:
        poll_interval: seconds between whole steps (rescue, ending jobs, publishing); a notification
            in between only triggers publishing.
        republish_after: seconds after which a chunk that nobody claimed may be published again.
    """

    model_config = _FROM_ENVIRONMENT

    poll_interval: Annotated[float, Field(gt=0, le=_YEAR)] = 1
    republish_after: Annotated[float, Field(gt=0, le=_YEAR)] = 10


class SweepSettings(BaseSettings):
    """Where sweeps find their rows.

    Attributes:
        sources: URLs of databases by name, as JSON; `textmill` is Textmill's own database.
        source_timeout: seconds that a statement may take in such a database.
    """

    model_config = _FROM_ENVIRONMENT

    sources: Json[dict[str, SecretStr]] = Field(default="{}", validate_default=True)
    # Postgres counts a statement's time in milliseconds, up to 2^31.
    source_timeout: Annotated[float, Field(gt=0, le=2_000_000)] = 300

    @field_validator("sources")
    @classmethod
    def _of_postgres(cls, sources: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, url in sources.items():
            try:
                parse_database_url(url.get_secret_value())
            except ValueError as error:
                msg = f"the URL of {name!r}: {error}"
                raise ValueError(msg) from None
        return sources


class WorkerSettings(BaseSettings):
    """How a worker process runs.

    Attributes:
        threads: chunks that a process works on at once.
        lease: seconds that a claim lasts, renewed while the process lives; an hour at most, since
            `textmill.rescue_chunks` shortens longer ones.
        heartbeat: seconds between heartbeats; at most 10 and a third of the lease, since
            `textmill.is_alive` takes a process for dead after 30 s of silence.
        chunk_timeout: seconds after which a running chunk counts as stuck, and its process exits.
        max_attempts: failed attempts at a chunk after which it is halved, down to the one document
            that fails.
        micro_batch_tokens: most padded tokens of a micro-batch (longest × rows); None measures
            a suitable number at the first start on a device.
        linger: seconds an idle device waits for more documents.
        drain: seconds that running chunks get to finish after SIGTERM.
        metrics_port: port where the first process on a host answers Prometheus; each further
            process takes the next port. None opens no port.
        cache_dir: where measurements of this host's devices are kept.
        artifacts: folder with the default artifact of each task; None uses the shipped ones.
        models_dir: folder with one artifact per model version, where promoted and pinned ones are
            found; the same on every host.
    """

    model_config = _FROM_ENVIRONMENT

    threads: Annotated[int, Field(ge=2)] = 4
    lease: Annotated[float, Field(gt=0, le=3600)] = 25
    heartbeat: Annotated[float, Field(gt=0, le=10)] = 5
    chunk_timeout: Annotated[float, Field(gt=0, le=_YEAR)] = 900
    max_attempts: Annotated[int, Field(ge=1)] = 5
    micro_batch_tokens: Annotated[int, Field(ge=1)] | None = None
    linger: Annotated[float, Field(ge=0, le=_YEAR)] = 0.003
    drain: Annotated[float, Field(ge=0, le=_YEAR)] = 30
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    cache_dir: Path = Field(default_factory=lambda: Path(platformdirs.user_cache_dir("textmill")))
    artifacts: Path | None = None
    models_dir: Path = Field(default_factory=lambda: read(ServiceSettings).data_dir / "models")

    @field_validator("heartbeat")
    @classmethod
    def _several_in_a_lease(cls, heartbeat: float, info: ValidationInfo) -> float:
        lease = info.data.get("lease")
        if lease is not None and heartbeat > lease / 3:
            msg = f"it must be a third of TEXTMILL_LEASE ({lease:g}) at most"
            raise ValueError(msg)
        return heartbeat


CONCERNS: tuple[type[BaseSettings], ...] = (
    ServiceSettings,
    IntakeSettings,
    DispatchSettings,
    SweepSettings,
    WorkerSettings,
)
"""Every class of settings."""


def check_all() -> None:
    """Read every setting, whether or not a command needs it.

    Raises:
        SettingsError: a variable is malformed.
    """
    for concern in CONCERNS:
        read(concern)


SettingsClass = TypeVar("SettingsClass", bound=BaseSettings)


def read(settings: type[SettingsClass]) -> SettingsClass:
    """Read `settings` from the environment.

    Raises:
        SettingsError: a variable is malformed; the message names it, but not its value.
    """
    try:
        return settings()
    except ValidationError as error:
        faults = "; ".join(
            f"TEXTMILL_{str(fault['loc'][0]).upper()}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
        )
        raise SettingsError(faults) from None
