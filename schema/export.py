"""JSON Schemas of everything that crosses a process boundary.

`python -m schema.export docs/schemas` writes them; a test compares them with the code.
"""

import json
import sys
from pathlib import Path

from schema.base import Frozen
from schema.documents import Document, JobOptions
from schema.messages import ChunkMessage
from schema.outcomes import Failure, KeywordsResult, ModerationResult, SentimentResult

EXPORTED: tuple[type[Frozen], ...] = (
    ChunkMessage,
    Document,
    Failure,
    JobOptions,
    KeywordsResult,
    ModerationResult,
    SentimentResult,
)


def json_schemas() -> dict[str, str]:
    """The JSON Schema of every exported class as text, by file name."""
    return {
        f"{exported.__name__}.json": json.dumps(
            exported.model_json_schema(), ensure_ascii=False, indent=2
        )
        + "\n"
        for exported in EXPORTED
    }


def write(folder: Path) -> None:
    """Write every schema into `folder`, which is created if it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in json_schemas().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
