"""What happens to one chunk between its message and its outcomes."""

import logging
from collections.abc import Callable, Collection, Sequence

import sqlalchemy as sa

from schema.database_errors import condition
from schema.errors import ArtifactError, LeaseLostError
from schema.messages import ChunkMessage
from schema.outcomes import ErrorCode, Failure, Result, Stage
from worker.analyser import Analyser
from worker.chunks import ChunkStore, LoadedDocument
from worker.gate import ClosedError, Gate
from worker.leases import Lease, Leases
from worker.meter import Meter
from worker.patience import Value, patiently
from worker.schedule import AbandonedError

logger = logging.getLogger(__name__)

ERASED = Failure(
    code=ErrorCode.ERASED,
    stage=Stage.RUN,
    message="the text was erased before it was analysed",
)

Outcomes = list[tuple[int, Result | Failure]]


class ChunkProcessor:
    """Claims a chunk, runs its documents through the pipeline and stores their outcomes."""

    def __init__(
        self,
        chunks: ChunkStore,
        leases: Leases,
        analyser: Analyser,
        meter: Meter,
        gate: Gate,
    ) -> None:
        self._chunks = chunks
        self._leases = leases
        self._analyser = analyser
        self._meter = meter
        self._gate = gate

    def __call__(self, message: ChunkMessage) -> bool:
        """Process the chunk that `message` points at; a duplicate message does nothing.

        Returns:
            False if the process drains and the chunk was not started: the message goes back.
        """
        try:
            # Each try enters anew: a chunk that cannot be claimed yet keeps nobody out.
            if patiently(lambda: self._enter(message)):
                return True
        except ClosedError:
            return False
        logger.info(
            "chunk %d of job %s is in work or done, or its job is paused or over",
            message.chunk_no,
            message.job_id,
        )
        return True

    def _enter(self, message: ChunkMessage) -> bool:
        """Process the chunk, with others or alone; return False if it could not be claimed."""
        with self._gate.together():
            if self._work(message, alone=False):
                return True
        if not self._chunks.is_suspect(message):
            return False
        with self._leases.keeping(message), self._gate.alone():
            return self._work(message, alone=True)

    def _work(self, message: ChunkMessage, *, alone: bool) -> bool:
        """Claim the chunk and process it; return False if it could not be claimed."""
        claim = self._chunks.claim(message, alone=alone)
        if claim is None:
            return False
        with self._leases.renewing(claim) as lease:
            try:
                documents = self._patiently(lease, lambda: self._chunks.load(claim))
                outcomes = self._analyse(lease, documents)
                self._store(lease, outcomes)
                self._count(outcomes)
            except (LeaseLostError, AbandonedError):
                logger.warning(
                    "attempt %d of chunk %d of job %s lost its lease; its outcomes are dropped",
                    claim.attempt,
                    claim.chunk_no,
                    claim.job_id,
                )
            except sa.exc.DBAPIError as error:
                # The driver's text, and thus a traceback, may quote results.
                logger.error(  # noqa: TRY400
                    "chunk %d of job %s: %s", claim.chunk_no, claim.job_id, condition(error)
                )
                self._fail(lease, error)
            except Exception as error:
                logger.exception("chunk %d of job %s", claim.chunk_no, claim.job_id)
                self._fail(lease, error)
        return True

    def _patiently(self, lease: Lease, action: Callable[[], Value]) -> Value:
        """Run an action of a chunk inside the gate until Postgres does it."""
        return patiently(action, lease.excuse, waiting=self._gate.stalled())

    def _store(self, lease: Lease, outcomes: Outcomes) -> None:
        """Store within the lease, even if the connection breaks or another session holds the job.

        If the connection breaks, the answer to a commit can be lost. The fence then tells whether
        this attempt stored its outcomes, and storing them a second time would write nothing.
        """
        claim, uncertain = lease.claim, False

        def attempt() -> None:
            nonlocal uncertain
            if uncertain:
                self._chunks.await_job(claim)
            try:
                self._chunks.store(claim, outcomes)
            except LeaseLostError:
                if not (uncertain and self._chunks.is_done(claim)):
                    raise
            except sa.exc.DBAPIError:
                uncertain = True
                raise

        self._patiently(lease, attempt)

    def _fail(self, lease: Lease, error: Exception) -> None:
        claim = lease.claim
        try:
            state = self._patiently(lease, lambda: self._chunks.fail(claim, error))
        except sa.exc.DBAPIError as refused:
            message = "chunk %d of job %s waits for its lease to run out: %s"
            logger.error(  # noqa: TRY400  # a traceback would show the message from Postgres
                message, claim.chunk_no, claim.job_id, condition(refused)
            )
            return
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
        texts = {seq: text for seq, text in documents if text is not None}
        erased = [(seq, ERASED) for seq, text in documents if text is None]
        outcomes = self._outcomes(lease, texts.values())
        return [*zip(texts, outcomes, strict=True), *erased]

    def _outcomes(self, lease: Lease, texts: Collection[str]) -> list[Result | Failure]:
        try:
            return self._analyser.analyse(lease, texts)
        except ArtifactError as error:
            if not self._chunks.gives_up(lease.claim, error):
                raise
            failure = Failure(
                code=ErrorCode.MODEL_UNAVAILABLE, stage=Stage.PREDICT, message=str(error)
            )
            return [failure] * len(texts)
