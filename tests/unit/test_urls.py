"""Server URLs that are shown."""

import pytest

from schema.urls import without_passwords


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://kim:a%2Fb@db:5433/mill", "postgresql://kim@db:5433/mill"),
        ("postgres://kim@db/mill?sslmode=require", "postgresql://kim@db/mill?sslmode=require"),
        (
            "postgresql+psycopg://db/mill?user=kim&password=a&sslpassword=b",
            "postgresql://db/mill?user=kim",
        ),
    ],
)
def test_url_for_a_command_line_holds_no_password(url: str, shown: str) -> None:
    """Without it, a command that was printed to be run shows the password in the process list."""
    assert without_passwords(url) == shown
