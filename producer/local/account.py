"""The system account that Postgres runs under, since it refuses root."""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from schema.errors import SettingsError

_UNPRIVILEGED = "nobody"


@dataclass(frozen=True)
class Account:
    """A system account, by its numbers."""

    user: int
    group: int

    def own(self, file: Path | int) -> None:
        """Hand a file over to this account.

        Args:
            file: its file descriptor, or a path that this account cannot change in between.
        """
        os.chown(file, self.user, self.group)


def postgres_account() -> Account | None:
    """The account that Postgres must run under; None means the one we run under.

    Raises:
        SettingsError: we are root, and this system has no unprivileged account to use.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(_UNPRIVILEGED)
    except KeyError:
        msg = (
            f"Postgres cannot run as root, and the account {_UNPRIVILEGED!r} does not exist; "
            "run as an ordinary user, or set TEXTMILL_DATABASE_URL"
        )
        raise SettingsError(msg) from None
    return Account(entry.pw_uid, entry.pw_gid)


def open_to_all(path: Path) -> bool:
    """Whether every account may enter `path`, a directory or a program, by its absolute path."""
    return all(step.stat().st_mode & stat.S_IXOTH for step in (path, *path.parents))
