"""Soft labels: how likely a teacher holds each label of a training text, see `teacher`."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from schema.documents import Task
from schema.errors import InputError
from worker.training.card import TeacherCard
from worker.training.corpus import LicenceClass
from worker.training.rows import KeywordsRow, LabelledRow, Row, RowFile, write_rows

SOFT_LABELS: Final = "soft_labels.jsonl.gz"
TEACHER: Final = "teacher.json"


class SoftRow(Row):
    """A text, and how likely each label holds."""

    soft: dict[str, float]


@dataclass(frozen=True, slots=True)
class SoftLabels:
    """What one teacher says.

    Attributes:
        by_text: how likely each label holds of a text.
        teacher: who says so.
    """

    by_text: dict[str, dict[str, float]]
    teacher: TeacherCard

    @classmethod
    def load(cls, folder: Path, task: Task, most_permissive: LicenceClass) -> "SoftLabels":
        """Read a folder that `textmill-worker teach` made.

        Raises:
            InputError: a file is missing or broken, the labels are of another task, or the teacher
                learned from a source whose licence class is beyond `most_permissive`.
        """
        by_text = {row.text: row.soft for row in RowFile(folder / SOFT_LABELS, SoftRow)}
        try:
            teacher = TeacherCard.model_validate_json((folder / TEACHER).read_bytes())
        except (OSError, ValueError) as error:
            msg = f"{folder / TEACHER} does not say who taught; make {folder} again"
            raise InputError(msg) from error
        if teacher.task is not task:
            msg = f"{folder} holds soft labels of {teacher.task}, not of {task}; name another"
            raise InputError(msg)
        if any(source.licence_class > most_permissive for source in teacher.sources):
            msg = f"{folder} was taught by sources beyond class {most_permissive}"
            msg += f"; make it again with --licence-class {most_permissive}"
            raise InputError(msg)
        return cls(by_text, teacher)

    def save(self, folder: Path) -> None:
        """Write what `load` reads; a folder that does not exist is made."""
        folder.mkdir(parents=True, exist_ok=True)
        write_rows(folder / SOFT_LABELS, self._rows())
        teacher = self.teacher.model_dump_json(indent=2)
        (folder / TEACHER).write_text(teacher + "\n", encoding="utf-8")

    def version(self) -> str:
        """Content hash, 16 hex digits."""
        digest = sha256()
        for row in self._rows():
            digest.update(row.model_dump_json().encode())
        return digest.hexdigest()[:16]

    def given_to(self, rows: Iterable[LabelledRow]) -> list[LabelledRow]:
        """The same rows; those whose text the teacher knows have its soft labels."""
        return [
            row
            if isinstance(row, KeywordsRow)
            else row.model_copy(update={"soft": self.by_text.get(row.text)})
            for row in rows
        ]

    def _rows(self) -> Iterable[SoftRow]:
        return (SoftRow(text=text, soft=soft) for text, soft in self.by_text.items())
