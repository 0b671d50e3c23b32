"""What CSV and TSV share: making a row from the values of a record."""

from collections.abc import Callable, Sequence

from producer.readers.lines import Line
from producer.readers.rows import Row
from schema.documents import Rejected
from schema.outcomes import ErrorCode


def assembled(
    lines: Sequence[Line],
    values: Sequence[str],
    header: Sequence[str],
    too_many: Callable[[Sequence[str]], str],
) -> Row | Rejected | None:
    """Make a row from a record.

    Args:
        lines: the lines of the record.
        values: the values in them; empty if the record is a blank line.
        header: the columns.
        too_many: tells people what to do if there are more values than columns.

    Returns:
        The row, or why it is rejected; None for a blank line. If there is only one column, a blank
        line is an empty value.
    """
    number = lines[0].number
    for line in lines:
        if line.fault:
            return line.fault.model_copy(update={"line": number})
    if not values and len(header) > 1:
        return None
    values = values or [""]
    if len(values) == len(header):
        return Row(number, dict(zip(header, values, strict=True)))
    remedy = (
        too_many(values)
        if len(values) > len(header)
        else "write every value, if only an empty one, and quote those that hold line breaks"
    )
    return Rejected(
        line=number,
        code=ErrorCode.INVALID_RECORD,
        message=(
            f"values in the record: {len(values)}, columns in the header: {len(header)}; {remedy}"
        ),
    )
