"""What a wheel holds, and what installing it brings."""

import subprocess
import sys
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("schema", "producer", "worker", "migrations")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """A wheel built from the sources of the project, outside its folder."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (tree / name).write_bytes((ROOT / name).read_bytes())
    for name in SOURCES:
        (tree / name).symlink_to(ROOT / name)
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, tree],
        check=True,
        capture_output=True,
        timeout=100,
    )
    (file,) = out.glob("textmill-*.whl")
    return ZipFile(file)


@pytest.fixture(scope="module")
def metadata(wheel: ZipFile) -> Message:
    """The wheel's METADATA."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def test_wheel_holds_every_file_of_the_packages(wheel: ZipFile) -> None:
    """Without it, an installed Textmill lacks a migration or a model that the clone has."""
    files = {
        str(file.relative_to(ROOT))
        for name in SOURCES
        for file in (ROOT / name).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }

    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == files
    assert "worker/artifacts/sentiment/weights.safetensors" in files
    assert "migrations/versions/0001_jobs.sql" in files


def test_installing_the_producer_brings_nothing_heavy(metadata: Message) -> None:
    """Without it, every ETL host downloads torch."""
    required = [str(value) for value in metadata.get_all("Requires-Dist", [])]
    base = [value for value in required if "extra ==" not in value]

    assert not [value for value in base if value.startswith(("torch", "numpy", "tokenizers"))]
    assert [value for value in required if value.startswith("torch") and "worker" in value]


def test_wheel_names_its_licence_and_programs(wheel: ZipFile, metadata: Message) -> None:
    """Without it, nobody may use the wheel, or knows how to start its programs."""
    (entry_points,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))

    assert metadata["License-Expression"] == "Apache-2.0"
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())
    assert "textmill = schema.start:textmill" in wheel.read(entry_points).decode()
    assert "textmill-worker = schema.start:textmill_worker" in wheel.read(entry_points).decode()
