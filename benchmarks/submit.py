"""What submitting costs, against a bare COPY of the same rows."""

import json
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import psycopg

from benchmarks import TASK
from benchmarks.documents import make
from benchmarks.report import Report, alternately, median_ratio
from benchmarks.system import own_servers
from producer.local import Stack, servers

DOCUMENTS = 1_000_000


def measure(documents: int | None) -> Report:
    """`textmill submit FILE.jsonl`, including the start of Python, and COPY into a bare table."""
    texts = make(documents or DOCUMENTS)
    with own_servers() as services:
        file = services.data_dir / "documents.jsonl"
        with file.open("w", encoding="utf-8") as lines:
            for number, text in enumerate(texts):
                lines.write(
                    json.dumps({"id": str(number), "text": text}, ensure_ascii=False) + "\n"
                )
        with servers(services) as stack:
            runs = alternately(
                {
                    "bare COPY": lambda: _copy(stack, texts),
                    "textmill submit": lambda: _submit(stack, file, len(texts)),
                }
            )
    ratio = median_ratio(runs["textmill submit"], runs["bare COPY"])
    return Report("submit", {"submit": ratio}, {"submit": ">= 0.5"}, runs, "documents/s")


def _copy(stack: Stack, texts: list[str]) -> float:
    began = time.monotonic()
    job = uuid4()
    with psycopg.connect(stack.urls.owner) as connection, connection.cursor() as cursor:
        cursor.execute("drop table if exists bare")
        cursor.execute(
            "create table bare (job_id uuid, seq bigint, external_id text, text text,"
            " metadata jsonb, line bigint, primary key (job_id, seq))"
        )
        with cursor.copy("copy bare (job_id, seq, external_id, text, line) from stdin") as copy:
            for number, text in enumerate(texts):
                copy.write_row((job, number, str(number), text, number))
    return len(texts) / (time.monotonic() - began)


def _submit(stack: Stack, file: Path, documents: int) -> float:
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "producer.cli", "submit", TASK, str(file)],
        env={
            "TEXTMILL_DATABASE_URL": stack.urls.producer,
            "TEXTMILL_BROKER_URL": stack.urls.broker,
            "HOME": str(file.parent),
        },
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return documents / (time.monotonic() - began)
