"""What can go wrong, and the exit code of a command that fails with it.

::

    TextmillError                         2
    ├── UsageError                        2  the caller can fix it
    │   ├── SettingsError                 2
    │   ├── InputError                    2
    │   ├── JobNotFoundError              2
    │   ├── DocumentsGoneError            2
    │   ├── SourceError                   2
    │   │   └── SourceAwayError           3  it does not answer
    │   ├── IdempotencyConflictError      2
    │   └── PendingLimitError             2
    ├── ServiceUnavailableError           3  a server does not answer
    ├── SchemaVersionError                3  the database is at another migration
    ├── ArtifactError                     2  an artifact is missing, broken or for another task
    │   └── NotLoadedError                3  may pass: memory, device or file system failed
    ├── DeviceFullError                   2  a chunk is tried again; no command ends with it
    ├── DocumentError                     2  one document fails, the others continue
    └── LeaseLostError                    2  another attempt continues; nothing was written

The number is the exit code; `schema.exit_codes` says what each means.
"""

from schema.exit_codes import EXIT_UNREACHABLE, EXIT_USAGE
from schema.outcomes import ErrorCode, Stage


class TextmillError(Exception):
    """Base of all errors; its text says what to do."""


class UsageError(TextmillError):
    """The request cannot be carried out as it stands."""


class SettingsError(UsageError):
    """A setting is missing, malformed, or names a login, role or folder that lacks a right."""


class InputError(UsageError):
    """The input cannot be used as it is; nothing was written."""


class JobNotFoundError(UsageError):
    """No job has this id."""


class DocumentsGoneError(UsageError):
    """The job's month was pruned, or a part of it dropped: not all that was counted is left."""


class SourceError(UsageError):
    """The database that a sweep reads refuses the login or the query, or does not answer."""


class SourceAwayError(SourceError):
    """The database that a sweep reads does not answer; it may do so later."""


class IdempotencyConflictError(UsageError):
    """The idempotency key was used before for other content."""


class PendingLimitError(UsageError):
    """Too many documents are already pending; nothing was submitted."""


class ServiceUnavailableError(TextmillError):
    """Postgres or Redis does not answer."""


class SchemaVersionError(TextmillError):
    """The database is not at the migration that this code was written for."""


class ArtifactError(TextmillError):
    """An artifact is missing, broken, or made for another task."""


class NotLoadedError(ArtifactError):
    """An artifact could not be loaded or copied; a later try may succeed.

    Memory, device or file system failed, or the artifact was changed meanwhile.
    """


class DeviceFullError(TextmillError):
    """The device has no memory even for a part of a document; a later try may find some."""


class DocumentError(TextmillError):
    """One document cannot be processed.

    Attributes:
        code: what went wrong, for programs.
        stage: where it went wrong.
    """

    def __init__(self, code: ErrorCode, stage: Stage, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.stage = stage


class LeaseLostError(TextmillError):
    """This attempt may no longer write what it claimed: a chunk, or a step of a sweep."""


def exit_code(error: TextmillError) -> int:
    """The exit code of a command that failed with `error`."""
    may_pass = (ServiceUnavailableError, SchemaVersionError, NotLoadedError, SourceAwayError)
    return EXIT_UNREACHABLE if isinstance(error, may_pass) else EXIT_USAGE
