"""Sentences, and Chinese abstracts, written for training, each by itself.

Collections hold what they were collected for: reviews, tweets on a subject, comments with words of
offence. What people say to each other, to a shop or to a colleague is in none, and of Chinese
abstracts with keywords there are few. Most sentences are of everyday life, others in the registers
of the collections or of other domains, such as company news. Unlike texts from templates, no two of
these share a frame.
"""

from importlib.resources import as_file, files

import numpy as np

from schema.documents import Task
from worker.training.rows import ROW_TYPES, LabelledRow, RowFile
from worker.training.written import SENTENCE_FILES

MOST_TIMES = 5
"""Times that one is repeated at most."""


def sentence_rows(task: Task, texts: int, rng: np.random.Generator) -> list[LabelledRow]:
    """Draw from those of a task, each about as often; of moderation every label is annotated.

    Args:
        task: of keywords, abstracts are drawn.
        texts: how many to draw; fewer come of it where each would come more than 5 times.
        rng: draws.
    """
    with as_file(files("worker.training").joinpath(SENTENCE_FILES[task])) as path:
        rows = list(RowFile(path, ROW_TYPES[task]))
    times = min(texts / len(rows), MOST_TIMES)
    return [row for row in rows for _ in range(int(times + rng.random()))]
