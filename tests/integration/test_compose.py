"""What compose.yaml and the Dockerfile promise, as far as it can be read from them."""

import re
import tomllib

import pytest
import sqlalchemy as sa

from producer.local.provision import LOGINS
from schema import settings
from tests.fixtures.compose import COMPOSE, ROOT, SERVICES, TEXT, TEXTMILL, VARIABLES, WORKERS


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_health_check_or_runs_once(name: str) -> None:
    """Without it, Compose starts dependents too early and never shows a broken service."""
    service = SERVICES[name]

    assert ("healthcheck" in service) != (service["restart"] == "no")


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_runs_as_root(name: str) -> None:
    """Without it, whoever exploits a fault in a service is root in its container."""
    assert SERVICES[name]["user"].partition(":")[0] not in ("0", "root")


def test_every_image_ends_as_an_ordinary_user() -> None:
    """Without it, an image that is run without compose.yaml runs as root."""
    stages = _stages((ROOT / "Dockerfile").read_text())

    for service in TEXTMILL.values():
        stage = stages[service["build"]["target"]]
        assert re.findall(r"^USER (.+)$", stage, re.MULTILINE)[-1] == service["user"]


def test_image_context_holds_all_that_the_wheel_is_built_from() -> None:
    """Without it, a package added to the wheel is missing from the images only."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = project["tool"]["setuptools"]["packages"]["find"]["include"]
    sources = {pattern.removesuffix("*") for pattern in found}
    sources |= {"pyproject.toml", project["project"]["readme"]}
    sources |= set(project["project"]["license-files"])

    kept = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }

    assert sources <= kept


@pytest.mark.parametrize(
    ("name", "data"),
    # The image of Postgres 18 keeps its data one level higher than earlier images.
    [("postgres", "/var/lib/postgresql"), ("redis", "/data")],
)
def test_servers_keep_their_data_in_a_named_volume(name: str, data: str) -> None:
    """Without it, a new container would begin with an empty database."""
    volume, _, target = SERVICES[name]["volumes"][0].partition(":")

    assert target == data
    assert volume in COMPOSE["volumes"]


def test_redis_writes_an_append_only_file_and_never_evicts() -> None:
    """Without it, a restart of Redis, or a full Redis, delays chunks until they are republished."""
    lines = COMPOSE["configs"]["redis"]["content"].splitlines()

    assert {"appendonly yes", "maxmemory-policy noeviction"} <= set(lines)


@pytest.mark.parametrize("name", SERVICES)
def test_no_command_holds_a_password(name: str) -> None:
    """Without it, every user of the host reads the password in its list of processes."""
    assert not any(
        VARIABLES["REDIS_PASSWORD"] in part for part in SERVICES[name].get("command", [])
    )


def test_only_the_migration_has_the_owners_login() -> None:
    """Without it, a sweep's query runs as a superuser, and guards of the tables stop nobody."""
    urls = {
        name: service["environment"]["TEXTMILL_DATABASE_URL"] for name, service in TEXTMILL.items()
    }

    logins = {name: sa.make_url(url).username for name, url in urls.items()}

    owner = SERVICES["postgres"]["environment"]["POSTGRES_USER"]
    assert [name for name, login in logins.items() if login == owner] == ["migrate"]
    assert logins["dispatch"] == LOGINS["producer"]
    assert {logins[name] for name in WORKERS} == {LOGINS["worker"]}


@pytest.mark.parametrize("name", WORKERS)
def test_worker_may_drain_before_it_is_killed(name: str) -> None:
    """Without it, every deployment charges an attempt to the running chunks."""
    grace = float(SERVICES[name]["stop_grace_period"].removesuffix("s"))

    assert grace > settings.WorkerSettings.model_fields["drain"].default


def test_workers_share_the_models_folder() -> None:
    """Without it, a model that one worker serves is missing for the next, or lost with the old."""
    for name in WORKERS:
        folder = SERVICES[name]["environment"]["TEXTMILL_MODELS_DIR"]
        assert SERVICES[name]["volumes"] == [f"models:{folder}"]
    assert "models" in COMPOSE["volumes"]


def test_gpu_worker_needs_its_profile_and_reserves_devices() -> None:
    """Without it, a host without NVIDIA devices cannot start anything."""
    service = SERVICES["worker-gpu"]

    (device,) = service["deploy"]["resources"]["reservations"]["devices"]

    assert service["profiles"] == ["gpu"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert [name for name in SERVICES if "profiles" in SERVICES[name]] == ["worker-gpu"]


def test_passwords_have_no_default() -> None:
    """Without it, somebody runs in production with the password of a public file."""
    named = re.findall(r"\$\{\w*PASSWORD(..)", TEXT)

    assert set(named) == {":?"}


@pytest.mark.parametrize("name", TEXTMILL)
def test_environment_holds_settings_that_exist(name: str) -> None:
    """Without it, a renamed setting is silently ignored and its default used."""
    concerns = (settings.ServiceSettings, settings.WorkerSettings)
    known = {f"TEXTMILL_{field.upper()}" for one in concerns for field in one.model_fields}

    assert set(TEXTMILL[name]["environment"]) <= known


def _stages(dockerfile: str) -> dict[str, str]:
    """The text of each build stage, by its name."""
    parts = re.split(r"^FROM \S+ AS (\w+)$", dockerfile, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))
