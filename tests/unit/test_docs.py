"""The guide names every setting and every command, and its links lead somewhere."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest
from pydantic.fields import FieldInfo

from schema.exit_codes import EXIT_UNREACHABLE
from schema.outcomes import ErrorCode, Stage
from schema.settings import CONCERNS
from schema.states import CHUNK_TRANSITIONS, JOB_TRANSITIONS, ChunkState, JobState
from worker import exit_codes

ROOT = Path(__file__).parents[2]
HELP_WIDTH = 80
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")]


def test_every_setting_is_documented_with_its_default() -> None:
    """Without it operators tune settings that do not exist, and miss those that do."""
    page = (ROOT / "docs/configuration.md").read_text()
    documented = dict(re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \|$", page, re.MULTILINE))

    fields = dict(_settings())
    fixed = {name for name, field in fields.items() if field.default_factory is None}

    assert set(documented) == set(fields)
    assert {name: documented[name] for name in fixed} == {
        name: "–" if fields[name].default is None else str(fields[name].default) for name in fixed
    }


def test_every_command_is_documented_with_its_options() -> None:
    """Without it a command is known only to those who read the code, or one that is gone stays."""
    page = (ROOT / "docs/commands.md").read_text()
    parts = re.split(r"^##+ `(.+)`$", page, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))

    commands = dict(_commands())
    groups = {name for name, command, _ in _helps() if isinstance(command, click.Group)}

    assert set(commands) <= set(sections) <= set(commands) | groups
    missing = {
        f"{name} {option}"
        for name, command in commands.items()
        for option in _options(command)
        if f"`{option}" not in sections[name]
    }
    assert not missing
    gone = {
        f"{name} {option}"
        for name, command in commands.items()
        for option in re.findall(r"^\| `(--[\w-]+)", sections[name], re.MULTILINE)
        if not any(option in [*part.opts, *part.secondary_opts] for part in command.params)
    }
    assert not gone


def test_every_command_has_examples_in_its_help() -> None:
    """Without it, anyone who asks for help learns every option but must guess what to type."""
    without = [
        name
        for name, command in _commands()
        if not re.search(rf"\bExamples?:\n.*\b{name}\b", command.help or "", re.DOTALL)
    ]

    assert not without


def test_help_fits_an_ordinary_terminal() -> None:
    """Without it, help shows truncated summaries, and examples broken anywhere in a line."""
    too_wide: list[str] = []
    for name, command, context in _helps():
        usage, _, rest = command.get_help(context).partition("\n\n")
        too_wide += [f"{name}: {line}" for line in usage.splitlines() if len(line) > HELP_WIDTH]
        too_wide += [
            f"{name}: {line}"
            for line in rest.splitlines()
            if len(line) > HELP_WIDTH or line.endswith("...") or "_ARGUMENT" in line
        ]

    assert too_wide == []


def test_exit_codes_of_worker_processes_are_documented() -> None:
    """Without it an operator meets an exit code that nothing explains."""
    page = (ROOT / "docs/operations.md").read_text()
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}

    codes = {code for name, code in vars(exit_codes).items() if name.startswith("EXIT_")}

    assert documented == codes | {EXIT_UNREACHABLE}


def test_codes_of_failures_are_documented_with_their_stages() -> None:
    """Without it, anyone who meets a failure has to guess whether to fix the document or retry."""
    page = (ROOT / "docs/commands.md").read_text()
    _, _, section = page.partition("\n### Failures\n")
    documented = dict(
        re.findall(r"^\| `(\w+)` \| ([\w, ]+) \| .+ \| .+ \|$", section, re.MULTILINE)
    )

    assert set(documented) == set(ErrorCode)
    assert {stage for stages in documented.values() for stage in stages.split(", ")} == set(Stage)


def test_thresholds_of_moderation_are_documented() -> None:
    """Without it nobody knows why a score of 0.15 flags and one of 0.7 does not."""
    config = json.loads((ROOT / "worker/artifacts/moderation/config.json").read_text())
    page = (ROOT / "docs/models.md").read_text()

    documented = dict(re.findall(r"(\w+) (0\.\d\d)\b", page))

    assert {label: float(documented[label]) for label in config["thresholds"]} == (
        config["thresholds"]
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    """Without it readers of the guide would follow dead links."""
    targets = re.findall(r"\]\((?!\w+:)([^)#]+)", page.read_text())

    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_index_links_every_page() -> None:
    """Without it a page is found only by readers who already know that it exists."""
    docs = ROOT / "docs"
    linked = re.findall(r"\]\(([^)#]+\.md)\)", (docs / "index.md").read_text())
    pages = {str(page.relative_to(docs)) for page in docs.glob("**/*.md")}

    assert pages - {"index.md"} - set(linked) == set()


def test_decisions_are_numbered_without_gaps() -> None:
    """Without it two records share a number, or a gap looks like a lost record."""
    records = sorted(ROOT.glob("docs/decisions/*.md"))
    headings = [record.read_text().partition(".")[0] for record in records]

    assert headings == [f"# {number}" for number in range(1, len(records) + 1)]
    assert [record.name[:5] for record in records] == [
        f"{number:04}-" for number in range(1, len(records) + 1)
    ]


def _settings() -> Iterator[tuple[str, FieldInfo]]:
    for concern in CONCERNS:
        for name, field in concern.model_fields.items():
            yield f"TEXTMILL_{name.upper()}", field


def _commands() -> Iterator[tuple[str, click.Command]]:
    """Every command of both programs, without groups."""
    for name, command, _ in _helps():
        if not isinstance(command, click.Group):
            yield name, command


def _helps() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Every command and every group of both programs, with a context for its help."""
    from producer.cli import main as textmill  # noqa: PLC0415  both build command trees
    from worker.cli import main as textmill_worker  # noqa: PLC0415

    programs: dict[str, click.Command] = {
        "textmill": textmill,
        "textmill-worker": textmill_worker,
    }
    pending = [
        (command, click.Context(command, info_name=name, terminal_width=HELP_WIDTH))
        for name, command in programs.items()
    ]
    while pending:
        command, context = pending.pop()
        yield context.command_path, command, context
        if isinstance(command, click.Group):
            for part in command.list_commands(context):
                below = command.get_command(context, part)
                assert below is not None
                pending.append((below, click.Context(below, parent=context, info_name=part)))


def _options(command: click.Command) -> list[str]:
    options = [part for part in command.params if isinstance(part, click.Option)]
    return [option.opts[-1] for option in options if not option.hidden]


@pytest.mark.parametrize(
    ("title", "table"), [("job", JOB_TRANSITIONS), ("chunk", CHUNK_TRANSITIONS)]
)
def test_drawn_states_are_those_of_the_tables(
    title: str,
    table: Mapping[JobState, frozenset[JobState]] | Mapping[ChunkState, frozenset[ChunkState]],
) -> None:
    """Without it the diagrams show transitions that the tables do not allow."""
    page = (ROOT / "docs/architecture.md").read_text()
    _, _, drawing = page.partition(f"## States of a {title}")

    drawn = re.findall(
        r"^    (\w+) --> (\w+)(?:: .+)?$", drawing.partition("\n```\n")[0], re.MULTILINE
    )

    assert sorted(drawn) == sorted((one, other) for one, ways in table.items() for other in ways)


def test_guarantees_name_tests_that_exist() -> None:
    """Without it a guarantee can name a test that does not exist."""
    page = (ROOT / "docs/guarantees.md").read_text()
    code = "".join(file.read_text() for file in ROOT.glob("tests/**/test_*.py"))

    named = re.findall(r"\b(test_\w+)(?!\w|\.py)", page)

    assert named
    assert [name for name in named if f"def {name}(" not in code] == []
