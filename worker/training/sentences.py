"""Sentences, and documents with keywords, written for training, each by itself.

Collections hold what they were collected for: reviews, tweets on a subject, comments with words of
offence, abstracts. What people say to each other, to a shop or to a colleague is in none, there are
few Chinese abstracts, and no news reports, products or tickets with keywords. Most sentences are of
everyday life, others in the registers of the collections or of other domains, such as company news.
Unlike texts from templates, no two of these share a frame.
"""

from importlib.resources import as_file, files

import numpy as np

from schema.documents import Task
from worker.training.rows import ROW_TYPES, LabelledRow, RowFile

MOST_TIMES = 5
"""Times that one is repeated at most."""


def sentence_rows(task: Task, name: str, texts: int, rng: np.random.Generator) -> list[LabelledRow]:
    """Draw from a file of a task, each text about as often; of moderation every label is annotated.

    Args:
        task: whose rows the file holds.
        name: one of `worker.training.written.SENTENCES` of the task.
        texts: how many to draw; fewer come of it where each would come more than 5 times.
        rng: draws.
    """
    with as_file(files("worker.training").joinpath(name)) as path:
        rows = list(RowFile(path, ROW_TYPES[task]))
    times = min(texts / len(rows), MOST_TIMES)
    return [row for row in rows for _ in range(int(times + rng.random()))]
