"""What happens to one chunk between its message and its outcomes."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import sqlalchemy as sa

from schema.errors import ArtifactError, DocumentError, LeaseLostError
from schema.messages import ChunkMessage
from schema.outcomes import ErrorCode, Failure, Result, Stage
from worker.chunks import ChunkStore, Claim, LoadedDocument
from worker.engine import AbandonedError, Engine
from worker.gate import ClosedError, Gate
from worker.heartbeat import Heartbeat, Lease
from worker.meter import Meter
from worker.models import Models
from worker.pipeline import Pipeline, failure_of
from worker.pipeline.records import Prediction, TokenizedDocument
from worker.retry import is_outage
from worker.waiting import Answer

logger = logging.getLogger(__name__)

PAUSES = (0.1, 0.2, 0.5, 1, 2)
"""Seconds between tries while Postgres is away; the last one repeats."""

Outcomes = list[tuple[int, Result | Failure]]
Value = TypeVar("Value")


class ChunkProcessor:
    """Claims a chunk, carries its documents through the pipeline, stores their outcomes."""

    def __init__(  # the parts of a process meet here
        self,
        chunks: ChunkStore,
        heartbeat: Heartbeat,
        engine: Engine,
        models: Models,
        meter: Meter,
        gate: Gate,
    ) -> None:
        self._chunks = chunks
        self._heartbeat = heartbeat
        self._engine = engine
        self._models = models
        self._meter = meter
        self._gate = gate

    def __call__(self, message: ChunkMessage) -> bool:
        """Process the chunk that `message` points at; a duplicate message does nothing.

        Returns:
            False when the process drains and the chunk was not begun: the message goes back.
        """
        try:
            with self._gate.together():
                if self._work(message, alone=False):
                    return True
            if self._while_open(lambda: self._chunks.is_suspect(message)):
                with self._gate.alone():
                    if self._work(message, alone=True):
                        return True
        except ClosedError:
            return False
        logger.info("nothing to do for chunk %d of job %s", message.chunk_no, message.job_id)
        return True

    def _work(self, message: ChunkMessage, *, alone: bool) -> bool:
        """Claim the chunk and process it. False: it could not be claimed."""
        claim = self._while_open(lambda: self._chunks.claim(message, alone=alone))
        if claim is None:
            return False
        with self._heartbeat.renewing(claim) as lease:
            try:
                documents = patiently(lambda: self._chunks.load(claim))
                outcomes = self._analyse(lease, documents)
                self._store(claim, outcomes)
                self._count(outcomes)
            except (LeaseLostError, AbandonedError):
                logger.warning(
                    "attempt %d of chunk %d of job %s lost its lease; its outcomes are dropped",
                    *(claim.attempt, claim.chunk_no, claim.job_id),
                )
            except Exception as error:
                logger.exception("chunk %d of job %s", claim.chunk_no, claim.job_id)
                self._fail(claim, error)
        return True

    def _while_open(self, action: Callable[[], Value]) -> Value:
        """Before a chunk is begun: patient, but not beyond the closing of the gate."""

        def attempt() -> Value:
            if self._gate.closed:
                raise ClosedError
            return action()

        return patiently(attempt)

    def _store(self, claim: Claim, outcomes: Outcomes) -> None:
        """Store within the lease, whatever becomes of the connection.

        The answer to a commit can be lost with the connection; then the fence says whether this
        attempt stored its outcomes, and a second time would write nothing.
        """
        uncertain = False

        def attempt() -> None:
            nonlocal uncertain
            try:
                self._chunks.store(claim, outcomes)
            except LeaseLostError:
                if not (uncertain and self._chunks.is_done(claim)):
                    raise
            except sa.exc.DBAPIError:
                uncertain = True
                raise

        patiently(attempt)

    def _fail(self, claim: Claim, error: Exception) -> None:
        state = patiently(lambda: self._chunks.fail(claim, error))
        logger.info(
            "attempt %d of chunk %d of job %s failed; the chunk is %s",
            claim.attempt,
            claim.chunk_no,
            claim.job_id,
            state or "another attempt's",
        )

    def _count(self, outcomes: Outcomes) -> None:
        failed = sum(isinstance(outcome, Failure) for _, outcome in outcomes)
        self._meter.count_documents(len(outcomes) - failed, failed)

    def _analyse(self, lease: Lease, documents: Sequence[LoadedDocument]) -> Outcomes:
        claim = lease.claim
        try:
            with self._models.using(claim.task, claim.model_version) as pipeline:
                return self._run(pipeline, lease, documents)
        except ArtifactError as error:
            if not self._chunks.is_last(claim):
                raise
            failure = Failure(
                code=ErrorCode.MODEL_UNAVAILABLE, stage=Stage.PREDICT, message=str(error)
            )
            return [(document.seq, failure) for document in documents]

    def _run(
        self, pipeline: Pipeline, lease: Lease, documents: Sequence[LoadedDocument]
    ) -> Outcomes:
        claim = lease.claim
        outcomes: Outcomes = []
        prepared: list[tuple[LoadedDocument, TokenizedDocument]] = []
        for document in documents:
            lease.check()
            try:
                tokenized = pipeline.prepare(
                    document.text, explain=claim.explain, generate=claim.generate
                )
                prepared.append((document, tokenized))
            except DocumentError as error:
                outcomes.append((document.seq, failure_of(error)))
        windows = [ids for _, tokenized in prepared for ids in tokenized.window_ids()]
        texts = (text for _, tokenized in prepared for text in tokenized.window_texts())
        found = self._engine.predict(pipeline, claim.lane, windows, lease.lost)
        answers = iter(_pooled(pipeline, found, texts))
        made = self._generated(pipeline, lease, [tokenized for _, tokenized in prepared])
        for (document, tokenized), phrases in zip(prepared, made, strict=True):
            mine = [next(answers) for _ in tokenized.windows]
            outcome = _finish(pipeline, document, tokenized, mine)
            if claim.explain and not isinstance(outcome, Failure):
                outcome = self._explained(pipeline, lease, tokenized, mine, outcome)
            if phrases is not None and not isinstance(outcome, Failure):
                outcome = _completed(pipeline, document, tokenized, phrases, outcome)
            outcomes.append((document.seq, outcome))
        return outcomes

    def _generated(
        self, pipeline: Pipeline, lease: Lease, documents: Sequence[TokenizedDocument]
    ) -> Sequence[Answer | None]:
        """What the generator makes of each document, None where it was not asked."""
        claim = lease.claim
        if not claim.generate:
            return [None] * len(documents)
        windows = [document.first_window() for document in documents]
        return self._engine.predict(pipeline, claim.lane, windows, lease.lost, generates=True)

    def _explained(
        self,
        pipeline: Pipeline,
        lease: Lease,
        tokenized: TokenizedDocument,
        answers: Sequence[Answer],
        result: Result,
    ) -> Result | Failure:
        """One document at a time: its occluded windows fill micro-batches, and bound the memory."""
        try:
            asked = pipeline.question(tokenized, _values(answers))
            if asked is None:
                return result
            found = self._engine.predict(pipeline, lease.claim.lane, asked.windows, lease.lost)
            error = _first_error(found)
            if error is not None:
                return failure_of(error)
            pooled = pipeline.pooled(_values(found), asked.texts)
            return pipeline.explained(result, tokenized, asked, pooled)
        except DocumentError as fault:
            return failure_of(fault)


def patiently(action: Callable[[], Value]) -> Value:
    """Do something in Postgres, again and again while it is away."""
    tries = 0
    while True:
        try:
            return action()
        except sa.exc.DBAPIError as error:
            if not is_outage(error):
                raise
            logger.warning("Postgres does not answer, trying again: %s", error.orig)
            time.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
            tries += 1


def _pooled(pipeline: Pipeline, answers: Sequence[Answer], texts: Iterable[str]) -> list[Answer]:
    """Predictions as `Pipeline.pooled` gives them; errors stay where they are."""
    good = (
        text
        for answer, text in zip(answers, texts, strict=True)
        if not isinstance(answer, DocumentError)
    )
    pooled = iter(pipeline.pooled(_values(answers), good))
    return [answer if isinstance(answer, DocumentError) else next(pooled) for answer in answers]


def _finish(
    pipeline: Pipeline,
    document: LoadedDocument,
    tokenized: TokenizedDocument,
    answers: Sequence[Answer],
) -> Result | Failure:
    fault = _first_error(answers)
    if fault is not None:
        return failure_of(fault)
    try:
        return pipeline.finish(document.text, tokenized, _values(answers))
    except DocumentError as error:
        return failure_of(error)


def _completed(
    pipeline: Pipeline,
    document: LoadedDocument,
    tokenized: TokenizedDocument,
    phrases: Answer,
    result: Result,
) -> Result | Failure:
    if isinstance(phrases, DocumentError):
        return failure_of(phrases)
    try:
        return pipeline.completed(result, document.text, tokenized, phrases)
    except DocumentError as error:
        return failure_of(error)


def _first_error(answers: Sequence[Answer]) -> DocumentError | None:
    return next((answer for answer in answers if isinstance(answer, DocumentError)), None)


def _values(answers: Sequence[Answer]) -> list[Prediction]:
    return [answer for answer in answers if not isinstance(answer, DocumentError)]
