"""Settings, read from the environment and nowhere else."""

import json
import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from schema import settings as settings_module
from schema.errors import SettingsError
from schema.settings import (
    CONCERNS,
    IntakeSettings,
    ServiceSettings,
    SweepSettings,
    WorkerSettings,
    read,
)

ROOT = Path(__file__).parents[2]


def test_secrets_stay_out_of_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, the first traceback in a log holds the password."""
    monkeypatch.setenv("TEXTMILL_DATABASE_URL", "postgresql://etl:sesame@db/texts")

    assert "sesame" not in repr(read(ServiceSettings))


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        (IntakeSettings, "TEXTMILL_MAX_DOCUMENT_BYTES", "many"),
        (IntakeSettings, "TEXTMILL_CHUNK_DOCUMENTS", "0"),
        (WorkerSettings, "TEXTMILL_THREADS", "1"),
    ],
)
def test_malformed_setting_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
    settings: type[IntakeSettings | WorkerSettings],
    name: str,
    value: str,
) -> None:
    """Without it, a typing error causes a traceback, or silently leaves the default."""
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError, match=name):
        read(settings)


@pytest.mark.parametrize("value", ["inf", "1e12"])
@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (settings, f"TEXTMILL_{name.upper()}")
        for settings in CONCERNS
        for name, field in settings.model_fields.items()
        if field.annotation is float
    ],
)
def test_time_that_never_ends_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, settings: type[BaseSettings], name: str, value: str
) -> None:
    """Without it, dispatch ends in a traceback if a load is to be kept for ever."""
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError, match=name):
        read(settings)


@pytest.mark.parametrize(
    "url",
    ["mysql://etl:sesame@db/shop", "postgresql://etl:9@sesame@db/shop", "postgresql://etl:sesame"],
)
def test_source_that_is_no_postgres_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """Without it, the error blames Textmill's own database, or prints part of the password."""
    monkeypatch.setenv("TEXTMILL_SOURCES", json.dumps({"shop": url}))

    with pytest.raises(SettingsError, match=r"^TEXTMILL_SOURCES: the URL of 'shop': ") as raised:
        read(SweepSettings)

    assert "sesame" not in str(raised.value)


def test_every_concern_is_checked() -> None:
    """Without it, a malformed variable is reported only once a command needs it."""
    of_module = {
        concern
        for concern in vars(settings_module).values()
        if isinstance(concern, type) and issubclass(concern, BaseSettings)
    }

    assert of_module == {BaseSettings, *CONCERNS}


@pytest.mark.parametrize("settings", CONCERNS, ids=lambda settings: settings.__name__)
def test_every_setting_has_a_default(settings: type[BaseSettings]) -> None:
    """Without it, a newcomer must set what only a few installations need before anything runs."""
    assert read(settings)


def test_only_settings_read_the_environment() -> None:
    """Without it, a setting could hide where nobody looks for it.

    Programs that start others may pass on their whole environment.
    """
    readers = re.compile(r"os\.environ(?!\s*[|,}])|os\.getenv|\*\*os\.environ\[")
    found = [
        str(file.relative_to(ROOT))
        for side in ("schema", "producer", "worker", "migrations")
        for file in (ROOT / side).rglob("*.py")
        if readers.search(file.read_text())
    ]

    assert found == []
