"""What can go wrong, and the exit code of a command that meets it.

::

    TextmillError                         2
    ├── UsageError                        2  the caller can mend it
    │   ├── SettingsError                 2
    │   ├── InputError                    2
    │   ├── JobNotFoundError              2
    │   ├── DocumentsGoneError            2
    │   ├── SourceError                   2
    │   │   └── SourceAwayError           3  it does not answer
    │   ├── IdempotencyConflictError      2
    │   └── PendingLimitError             2
    ├── ServiceUnavailableError           3  a server does not answer
    ├── SchemaVersionError                3  the database has another migration
    ├── ArtifactError                     2  a model folder is missing, broken or of another task
    │   └── NotLoadedError                3  it may pass: memory, device or file system failed
    ├── DocumentError                     2  one document fails, its neighbours go on
    └── LeaseLostError                    2  another attempt goes on; nothing was written

The number is that exit code. 2: the command cannot be carried out as given. 3: something that it
needs is away, and the same command may succeed later.
"""

from schema.outcomes import ErrorCode, Stage

EXIT_FAILURES = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_INTERRUPTED = 130


class TextmillError(Exception):
    """Base of all errors; its text says what to do."""


class UsageError(TextmillError):
    """The request cannot be carried out as it stands."""


class SettingsError(UsageError):
    """A setting is missing, malformed, or names a login, role or folder that lacks a right."""


class InputError(UsageError):
    """What was handed over cannot be used as it is; nothing was written."""


class JobNotFoundError(UsageError):
    """No job has this id."""


class DocumentsGoneError(UsageError):
    """The month of the job was dropped, or a part of it: not all that was counted is left."""


class SourceError(UsageError):
    """The database that a sweep reads refuses the login or the query, or does not answer."""


class SourceAwayError(SourceError):
    """The database that a sweep reads does not answer; it may later."""


class IdempotencyConflictError(UsageError):
    """The idempotency key was used before, for other content."""


class PendingLimitError(UsageError):
    """Too many documents wait already; nothing was submitted."""


class ServiceUnavailableError(TextmillError):
    """Postgres or Redis does not answer."""


class SchemaVersionError(TextmillError):
    """The database's migration is not the one this code was written for."""


class ArtifactError(TextmillError):
    """An artifact is missing, broken, or made for another task."""


class NotLoadedError(ArtifactError):
    """An artifact could not be loaded or copied; it may pass.

    Memory, device or file system failed, or it was changed meanwhile.
    """


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
    """What was claimed, a chunk or the step of a sweep, is no longer this attempt's to write."""


def exit_code(error: TextmillError) -> int:
    """What a command ends with that ran into an error."""
    may_pass = (ServiceUnavailableError, SchemaVersionError, NotLoadedError, SourceAwayError)
    return EXIT_UNREACHABLE if isinstance(error, may_pass) else EXIT_USAGE
