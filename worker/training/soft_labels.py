"""Soft labels: how likely a teacher considers each label of a training text, see `teacher`."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from schema.documents import Task
from schema.errors import InputError
from worker.training.card import TeacherCard
from worker.training.corpus import LicenceClass, Source, data_hash
from worker.training.hashing import content_hash
from worker.training.rows import (
    KeywordsRow,
    LabelledRow,
    Row,
    RowFile,
    SentimentRow,
    TaughtModerationRow,
    TaughtSentimentRow,
    write_rows,
)

SOFT_LABELS: Final = "soft_labels.jsonl.gz"
TEACHER: Final = "teacher.json"

SoftLabel = dict[str, float]


class SoftRow(Row):
    """A text, and how likely each label of the task holds."""

    soft: dict[str, Annotated[float, Field(ge=0, le=1)]]


@dataclass(frozen=True, slots=True)
class SoftLabels:
    """The judgements of one teacher.

    Attributes:
        by_text: how likely each label holds, by text.
        teacher: the teacher's card.
    """

    by_text: Mapping[str, SoftLabel]
    teacher: TeacherCard

    @classmethod
    def load(cls, folder: Path, task: Task, licence_class: LicenceClass) -> "SoftLabels":
        """Read a folder that `textmill-worker teach` made.

        Raises:
            InputError: a file is missing, broken or of another teacher, the labels are of another
                task, or the teacher learned from a source whose licence class is beyond
                `licence_class`.
        """
        by_text = {row.text: row.soft for row in RowFile(folder / SOFT_LABELS, SoftRow)}
        try:
            teacher = TeacherCard.model_validate_json((folder / TEACHER).read_bytes())
        except (OSError, ValueError) as error:
            msg = f"{folder / TEACHER} does not say who taught; make {folder} again"
            raise InputError(msg) from error
        if version_of(by_text) != teacher.soft_labels:
            msg = f"{folder / SOFT_LABELS} is not what {folder / TEACHER} made; make {folder} again"
            raise InputError(msg)
        if teacher.task is not task:
            msg = f"{folder} holds soft labels of {teacher.task}, not of {task}; name another"
            raise InputError(msg)
        if any(source.licence_class > licence_class for source in teacher.sources):
            msg = f"{folder} was taught by sources beyond class {licence_class}"
            msg += f"; make it again with --licence-class {licence_class}"
            raise InputError(msg)
        return cls(by_text, teacher)

    def save(self, folder: Path) -> None:
        """Write what `load` reads; the folder is created if missing."""
        folder.mkdir(parents=True, exist_ok=True)
        write_rows(folder / SOFT_LABELS, _rows(self.by_text))
        teacher = self.teacher.model_dump_json(indent=2)
        (folder / TEACHER).write_text(teacher + "\n", encoding="utf-8")

    def check(self, sources: Iterable[Source]) -> None:
        """Check that the teacher learned from these sources as they are now.

        Otherwise it may have seen texts that are validation or test rows today.

        Raises:
            InputError: they differ.
        """
        names = {source.name for source in self.teacher.sources}
        if data_hash([source for source in sources if source.name in names]) != (
            self.teacher.data_hash
        ):
            msg = "the soft labels were made from other data; make them again with: "
            raise InputError(msg + self.teacher.command)

    def beyond(self, texts: Container[str]) -> list[TaughtSentimentRow]:
        """The teacher's rows for all texts that are not in `texts`.

        As nobody gave such a text a label, it gets the one that the teacher considers likeliest.
        """
        return [
            TaughtSentimentRow.model_validate(
                {"text": text, "label": max(soft, key=soft.__getitem__), "soft": soft}
            )
            for text, soft in self.by_text.items()
            if text not in texts
        ]


def with_soft_labels(row: LabelledRow, by_text: Mapping[str, SoftLabel]) -> LabelledRow:
    """The same row, with the soft labels of its text if there are any."""
    soft = by_text.get(row.text)
    if soft is None or isinstance(row, KeywordsRow):
        return row
    kind = TaughtSentimentRow if isinstance(row, SentimentRow) else TaughtModerationRow
    return kind.model_validate({**dict(row), "soft": soft})


def version_of(by_text: Mapping[str, SoftLabel]) -> str:
    """Content hash, 16 hex digits."""
    return content_hash(row.model_dump_json().encode() for row in _rows(by_text))


def _rows(by_text: Mapping[str, SoftLabel]) -> Iterable[SoftRow]:
    return (SoftRow(text=text, soft=soft) for text, soft in by_text.items())
