"""Data that crosses process boundaries: messages, results, and their published schemas."""

from pathlib import Path
from uuid import UUID

import pytest
from pydantic import ValidationError

import schema
from schema.documents import Lane, Task
from schema.export import json_schemas
from schema.messages import ChunkMessage, queue_name
from schema.outcomes import RESULT, Keyword

ROOT = Path(__file__).parents[2]
MESSAGE = {
    "v": 1,
    "job_id": "0190f3c2-0000-7000-8000-000000000000",
    "chunk_no": 0,
    "task": "sentiment",
}


def test_published_schemas_are_those_of_the_code() -> None:
    """Without it, programs in other languages are written against outdated schemas.

    To update them: python -m schema.export docs/schemas
    """
    folder = ROOT / "docs/schemas"

    assert {file.name: file.read_text() for file in folder.iterdir()} == json_schemas()


def test_the_package_named_schema_is_ours() -> None:
    """Without it, a package of that name from PyPI silently shadows ours."""
    assert Path(schema.__file__).parent == ROOT / "schema"


def test_message_survives_the_wire() -> None:
    """Without it, workers refuse what dispatch sends."""
    message = ChunkMessage.model_validate(MESSAGE)

    assert message.job_id == UUID(str(MESSAGE["job_id"]))
    assert message.model_dump(mode="json") == MESSAGE


@pytest.mark.parametrize(
    "change",
    [{"v": 2}, {"chunk_no": -1}, {"task": "summary"}, {"job_id": "x"}, {"text": "smuggled"}],
)
def test_message_of_another_form_is_refused(change: dict[str, object]) -> None:
    """Without it, an older worker misreads a newer message."""
    with pytest.raises(ValidationError):
        ChunkMessage.model_validate(MESSAGE | change)


def test_every_task_has_a_queue_a_lane() -> None:
    """Without it, two kinds of work share a queue, and one starves the other."""
    names = {queue_name(task, lane) for task in Task for lane in Lane}

    assert len(names) == len(Task) * len(Lane)
    assert "textmill.v1.sentiment.interactive" in names


@pytest.mark.parametrize("span", [(3, 3), (4, 2), (-1, 2)])
def test_span_is_half_open_and_not_empty(span: tuple[int, int]) -> None:
    """Without it, a client that slices a text by its spans gets nothing, or the wrong part."""
    with pytest.raises(ValidationError, match="half-open"):
        Keyword(text="tea", score=0.5, spans=[span])


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan"), float("inf")])
def test_score_lies_between_0_and_1(score: float) -> None:
    """Without it, a broken model writes scores that no threshold can be compared with."""
    with pytest.raises(ValidationError):
        Keyword(text="tea", score=score, spans=[(0, 3)])


def test_result_is_known_by_its_task() -> None:
    """Without it, a moderation result is read as a sentiment result."""
    fields = {"language": "zh", "model_version": "m", "keywords": []}

    assert RESULT.validate_python({"task": "keywords", **fields}).task == "keywords"
    with pytest.raises(ValidationError):
        RESULT.validate_python({"task": "sentiment", **fields})
