"""Server URLs: checked before use, and shown without their secrets."""

import re
from urllib.parse import parse_qs, urlsplit

import sqlalchemy as sa

from schema.errors import SettingsError

_ENCODE = "percent-encode %, @, /, ?, # and ; in the password"


def parse_database_url(url: str) -> sa.URL:
    """Parse a Postgres URL.

    Raises:
        ValueError: it is not one; the message repeats nothing of it.
    """
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # ValueError: the port is not a number
        msg = f"it is not a URL; it looks like postgresql://user:password@host/database; {_ENCODE}"
        raise ValueError(msg) from None
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        msg = "it must begin with postgresql://"
        raise ValueError(msg)
    _refuse_stray_at(url, ends="/?")
    return parsed


def check_broker_url(url: str) -> None:
    """Check that `url` is a Redis URL.

    Raises:
        ValueError: it is not one; the message repeats nothing of it.
    """
    looks = f"it looks like redis://:password@host:port/number; {_ENCODE}"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        msg = f"it is not a URL; {looks}"
        raise ValueError(msg) from None
    if parts.scheme not in ("redis", "rediss"):
        msg = "it must begin with redis:// or rediss://"
        raise ValueError(msg)
    _refuse_stray_at(url, ends="/?#")
    # Celery takes a semicolon for the end of one URL and the beginning of the next.
    if not parts.hostname or not re.fullmatch(r"/?\d*", parts.path) or ";" in url:
        msg = f"it has no host, or what follows the host is not a number; {looks}"
        raise ValueError(msg)
    if not all(field.startswith("ssl_") for field in parse_qs(parts.query)):
        msg = "what follows ? can only be settings that begin with ssl_"
        raise ValueError(msg)


def database_place(url: sa.URL) -> str:
    """Where a database is, without the parts of its URL that may be secret."""
    place = sa.URL.create("postgresql", url.username, None, url.host, url.port, url.database)
    return place.render_as_string()


def broker_place(url: str) -> str:
    """Where a Redis is, without the parts of its URL that may be secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def login_refused(url: str, error: Exception) -> SettingsError:
    """The error to raise when the Redis at `url` refuses the login."""
    return SettingsError(
        f"Redis at {broker_place(url)} refuses the login ({error}); correct TEXTMILL_BROKER_URL"
    )


def _refuse_stray_at(url: str, ends: str) -> None:
    """Refuse an @ that does not end the password: what follows it would be taken for the host."""
    rest = url.partition("://")[2]
    authority = re.split(f"[{ends}]", rest, maxsplit=1)[0]
    if authority.count("@") > 1 or rest.count("@") > authority.count("@"):
        msg = f"the host holds @; {_ENCODE}"
        raise ValueError(msg)
