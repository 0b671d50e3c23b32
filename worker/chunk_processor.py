"""What happens to one chunk between its message and its outcomes."""

import logging
import random
from collections.abc import Iterator, Mapping, Sequence

import sqlalchemy as sa

from schema.documents import Task
from schema.errors import DocumentError, LeaseLostError
from schema.messages import ChunkMessage
from schema.outcomes import Failure, Result
from worker.chunks import ChunkStore, Claim, LoadedDocument
from worker.engine import Answer, Engine
from worker.heartbeat import Heartbeat
from worker.pipeline import Pipeline
from worker.pipeline.records import TokenizedDocument

logger = logging.getLogger(__name__)


class ChunkProcessor:
    """Claims a chunk, carries its documents through the pipeline, stores their outcomes."""

    def __init__(
        self,
        chunks: ChunkStore,
        heartbeat: Heartbeat,
        engine: Engine,
        pipelines: Mapping[Task, Pipeline],
    ) -> None:
        self._chunks = chunks
        self._heartbeat = heartbeat
        self._engine = engine
        self._pipelines = pipelines

    def __call__(self, message: ChunkMessage) -> None:
        """Process the chunk that `message` points at; a duplicate message does nothing."""
        claim = self._chunks.claim(message)
        if claim is None:
            logger.info("nothing to do for chunk %d of job %s", message.chunk_no, message.job_id)
            return
        with self._heartbeat.renewing(claim):
            try:
                documents = self._chunks.load(claim)
                self._chunks.store(claim, self._analyse(claim, documents))
                self._heartbeat.finished(len(documents))
            except LeaseLostError as error:
                logger.warning("%s; its outcomes of attempt %d are dropped", error, claim.attempt)
            except sa.exc.OperationalError:
                # Postgres went away, so nothing can be said of the chunk: its lease will run out.
                logger.exception("lost Postgres during chunk %d", claim.chunk_no)
            except Exception:
                logger.exception("chunk %d of job %s", claim.chunk_no, claim.job_id)
                self._chunks.release(claim, retry_after=backoff(claim.attempt))

    def _analyse(
        self, claim: Claim, documents: Sequence[LoadedDocument]
    ) -> list[tuple[int, Result | Failure]]:
        pipeline = self._pipelines[claim.task]
        outcomes: list[tuple[int, Result | Failure]] = []
        prepared: list[tuple[LoadedDocument, TokenizedDocument]] = []
        for document in documents:
            try:
                prepared.append((document, pipeline.prepare(document.text)))
            except DocumentError as error:
                outcomes.append((document.seq, failure_of(error)))
        windows = [ids for _, tokenized in prepared for ids in tokenized.window_ids()]
        answers = iter(self._engine.predict(claim.task, claim.lane, windows))
        for document, tokenized in prepared:
            outcomes.append((document.seq, _finish(pipeline, document, tokenized, answers)))
        return outcomes


def _finish(
    pipeline: Pipeline,
    document: LoadedDocument,
    tokenized: TokenizedDocument,
    answers: Iterator[Answer],
) -> Result | Failure:
    mine = [next(answers) for _ in tokenized.windows]
    errors = [answer for answer in mine if isinstance(answer, DocumentError)]
    if errors:
        return failure_of(errors[0])
    try:
        return pipeline.finish(
            document.text,
            tokenized,
            [answer for answer in mine if not isinstance(answer, DocumentError)],
        )
    except DocumentError as error:
        return failure_of(error)


def failure_of(error: DocumentError) -> Failure:
    """The outcome that an error stands for."""
    return Failure(code=error.code, stage=error.stage, message=str(error))


def backoff(attempt: int) -> float:
    """Seconds to wait after a failed attempt: 1, 2, 4 … up to 60, with full jitter above half."""
    ceiling = min(60.0, 2.0 ** min(attempt - 1, 6))
    return random.uniform(ceiling / 2, ceiling)  # noqa: S311  # spreads load, guards nothing
