"""The data folder: its sources with their licences, and the training texts of each task.

::

    DIR/counts.json                            licence class of each source
    DIR/<task>/<source>/{train,valid,test}.jsonl.gz    or .jsonl
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal, get_args

from schema.documents import Task
from schema.errors import InputError
from schema.outcomes import ModerationLabel
from worker.training.data_sets import MASKED_SOURCES, RULED_OUT_LABELS
from worker.training.hashing import content_hash
from worker.training.rows import (
    ROW_TYPES,
    KeywordsRow,
    LabelledRow,
    ModerationRow,
    RowFile,
)
from worker.training.sampling import draw_of

LicenceClass = Literal["A", "B", "C"]
"""A permissive; B share-alike or the texts' own terms; C none found."""
Split = Literal["train", "valid", "test"]

SPLITS: Final[tuple[Split, ...]] = ("train", "valid", "test")
_USES: Final[dict[Split, str]] = {
    "train": "learn from",
    "valid": "choose the best epoch by",
    "test": "measure on",
}
_MASKS: Final = re.compile(r"NAME|PLACE|DIGIT|URL|CELLPHONE|PHONE|WECHAT|QQ|EMAIL|BANKCARD")
"""Words that a source put in place of private data; a model would learn them, not the text."""
_UNLABELLED_TEXTS_A_SOURCE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Source:
    """One data set of one task.

    Attributes:
        task: the task that its labels are for.
        name: the name of its folder.
        licence_class: see `LicenceClass`; C if the data folder does not say.
        folder: the folder that holds its splits.
    """

    task: Task
    name: str
    licence_class: LicenceClass
    folder: Path

    def path(self, split: Split) -> Path:
        """The file of a split, `.jsonl.gz` unless there is only `.jsonl`; it need not exist.

        Raises:
            InputError: there are both.
        """
        packed = self.folder / f"{split}.jsonl.gz"
        plain = packed.with_suffix("")
        if not plain.is_file():
            return packed
        if packed.is_file():
            msg = f"{plain} and {packed} are both there; remove one"
            raise InputError(msg)
        return plain

    def rows(self, split: Split) -> list[LabelledRow]:
        """The rows of a split; none if it has no file.

        Training rows are prepared for learning: masks are removed, and labels that the collection
        rules out count as annotated.

        Raises:
            InputError: a line is broken.
        """
        if not self.path(split).is_file():
            return []
        rows = list(RowFile(self.path(split), ROW_TYPES[self.task]))
        if self.name in MASKED_SOURCES and split == "train":
            rows = [row for row in map(_unmask, rows) if row.text]
        if self.name in RULED_OUT_LABELS and split == "train":
            rows = [_with_ruled_out(row, RULED_OUT_LABELS[self.name]) for row in rows]
        return rows


def sources(data: Path, task: Task, licence_class: LicenceClass = "C") -> list[Source]:
    """The sources of a task up to a licence class, ordered by name.

    Raises:
        InputError: the folder holds no such source, names a class that there is not, or has both
            files of a split.
    """
    classes = _licence_classes(data)
    known = [
        Source(task, folder.name, classes.get(folder.name, "C"), folder)
        for folder in sorted((data / task).glob("*"))
    ]
    allowed = [
        source
        for source in known
        if source.licence_class <= licence_class
        and any(source.path(split).is_file() for split in SPLITS)
    ]
    if not allowed:
        msg = (
            f"{data / task} holds no source of class {licence_class}, which is a folder with"
            " train.jsonl.gz, valid.jsonl.gz or test.jsonl.gz; --data names the folder of all tasks"
        )
        raise InputError(msg)
    return allowed


def check_rows(used: Sequence[Source], *splits: Split) -> None:
    """Check, before a training begins, that its sources have rows.

    Raises:
        InputError: no source has a row in one of the splits, or a line is broken.
    """
    for split in splits:
        if not any(source.rows(split) for source in used):
            wanted = used[0].folder.parent / "SOURCE" / f"{split}.jsonl.gz"
            msg = f"no source has rows to {_USES[split]}; write some to {wanted}"
            raise InputError(msg)


def unlabelled_texts(source: Source) -> list[str]:
    """Training texts of another task, which only a teacher labels.

    Returns:
        A bounded sample, the same at every call; for keywords, only the titles.
    """
    texts = [
        row.text.partition("\n")[0] if isinstance(row, KeywordsRow) else row.text
        for row in source.rows("train")
    ]
    return sorted(texts, key=draw_of)[:_UNLABELLED_TEXTS_A_SOURCE]


def identity_of(options: Sequence[object], used: list[Source]) -> str:
    """Hash over everything that decides the result of a training, 16 hex digits."""
    return content_hash([f"{options} {data_hash(used)}".encode()])


def check_unchanged(data: Path, before: str, after: str) -> None:
    """Check that the data is what a training began with, since the card names it by its hash.

    Args:
        data: the data folder.
        before: the training's `identity_of` when it began.
        after: the same when it ends.

    Raises:
        InputError: they differ.
    """
    if before != after:
        msg = f"the data in {data} changed during the training; start it anew"
        raise InputError(msg)


def data_hash(used: list[Source]) -> str:
    """Hash over every file of the sources, 16 hex digits."""
    return content_hash(
        part
        for source in used
        for split in SPLITS
        if source.path(split).is_file()
        for part in (
            f"{source.task}/{source.name}/{split}".encode(),
            sha256(source.path(split).read_bytes()).digest(),
        )
    )


def _licence_classes(data: Path) -> dict[str, LicenceClass]:
    path = data / "counts.json"
    if not path.is_file():
        return {}
    try:
        counts = json.loads(path.read_bytes())
        classes = {name: entry["klass"] for name, entry in counts.items() if "klass" in entry}
    except (ValueError, TypeError, AttributeError) as error:
        msg = f"{path} is broken ({error}); restore it"
        raise InputError(msg) from error
    for name, licence_class in classes.items():
        if licence_class not in get_args(LicenceClass):
            msg = f"{path}: {name} has the class {licence_class!r}; it must be A, B or C"
            raise InputError(msg)
    return classes


def _unmask(row: LabelledRow) -> LabelledRow:
    return row.model_copy(update={"text": _MASKS.sub(" ", row.text).strip()})


def _with_ruled_out(row: LabelledRow, ruled_out: frozenset[ModerationLabel]) -> LabelledRow:
    if not isinstance(row, ModerationRow):
        return row
    return row.model_copy(update={"annotated": row.annotated | ruled_out})
