"""What the readers pass to intake and to feedback."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from schema.documents import Rejected
from schema.errors import InputError
from schema.outcomes import ErrorCode

MOST_SHOWN = 20
"""Most fields of a file that a message names."""


class Row(NamedTuple):
    """One record as its file holds it; its content is unchecked.

    Attributes:
        line: line of the file where it starts, counted from 1; in Parquet, its row.
        fields: its values by field or column.
    """

    line: int
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Expected:
    """What a file must have for its records to make sense.

    Attributes:
        name: what people call the file.
        fields: fields or columns that must exist.
        example: a record, as a message shows it.
    """

    name: str
    fields: Sequence[str]
    example: str = '{"text": ...}'

    def check(self, found: Sequence[str]) -> None:
        """Check the fields that a file has.

        Raises:
            InputError: one is missing, or a name occurs twice.
        """
        for field in self.fields:
            if field not in found:
                msg = (
                    f"{self.name} has no field {field!r}; it has: {listed([*map(repr, found)])}."
                    " Name the right one with --text-field or --id-field"
                )
                raise InputError(msg)
        twice = [field for field, count in Counter(found).items() if count > 1]
        if twice:
            msg = f"{self.name} has more than one column {twice[0]!r}; rename one"
            raise InputError(msg)

    def no_header(self, fault: Rejected | None) -> InputError:
        """The refusal of a file without a header row; `fault` is that of its first line."""
        if fault:
            return InputError(f"{self.name} has no header row: {fault.message}")
        return InputError(f"{self.name} has no header row; name its columns in its first line")

    def carriage_returns(self) -> InputError:
        """The refusal of a file whose lines end in a carriage return alone."""
        return InputError(
            f"the lines of {self.name} end in a carriage return alone; convert them to line feeds,"
            r" for instance with: tr '\r' '\n'"
        )


def damaged(line: int, unit: str, error: Exception) -> Rejected:
    """The rejected record that covers everything in a file that cannot be read.

    Args:
        line: where the unreadable part begins.
        unit: what `line` counts, a line or a row.
        error: why it cannot be read.
    """
    return Rejected(
        line=line,
        code=ErrorCode.DAMAGED_FILE,
        message=(
            f"the file is damaged from {unit} {line} on ({error}), nothing after it was read;"
            " make the file anew and submit it as a job of its own"
        ),
    )


def listed(names: Sequence[str]) -> str:
    """Names of fields for a message, at most `MOST_SHOWN`."""
    shown = ", ".join(names[:MOST_SHOWN])
    return f"{shown}, …" if len(names) > MOST_SHOWN else shown
