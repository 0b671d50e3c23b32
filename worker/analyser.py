"""Runs the documents of chunks through their models."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from schema.outcomes import Failure, Result
from worker.core import Core
from worker.engine import Engine
from worker.leases import Lease
from worker.models import Models
from worker.pipeline import Pipeline
from worker.pipeline.analysis import outcomes_of
from worker.pipeline.records import Answer, IntArray


class Analyser:
    """Analyses the documents of a chunk; any number of threads may call it.

    Args:
        models: hands out the model of each chunk.
        engine: runs windows on the device.
        core: where the calling threads compute.
    """

    def __init__(self, models: Models, engine: Engine, core: Core) -> None:
        self._models = models
        self._engine = engine
        self._core = core

    def analyse(self, lease: Lease, texts: Iterable[str]) -> list[Result | Failure]:
        """Run the documents of one chunk through its model.

        Args:
            lease: the lease of the chunk.
            texts: the documents.

        Returns:
            One result or failure per document, in their order.

        Raises:
            AbandonedError: the lease was lost while windows waited for the device.
            ArtifactError: the model cannot be loaded.
            DeviceLostError: the device failed for good.
            LeaseLostError: the lease was lost.
        """
        claim = lease.claim
        with self._models.using(claim.task, claim.model_version) as pipeline:
            run = partial(self._run, lease, pipeline)
            with self._core.held(claim.lane):
                return outcomes_of(
                    pipeline,
                    _checked(lease, texts),
                    run,
                    explain=claim.explain,
                    generate=claim.generate,
                )

    def _run(
        self,
        lease: Lease,
        pipeline: Pipeline,
        windows: Sequence[IntArray],
        *,
        generates: bool = False,
    ) -> list[Answer]:
        lane = lease.claim.lane
        with self._core.elsewhere(lane):
            return self._engine.predict(pipeline, lane, windows, lease.lost, generates=generates)


def _checked(lease: Lease, texts: Iterable[str]) -> Iterator[str]:
    """Yield the texts, checking before each that its outcome is still wanted."""
    for text in texts:
        lease.check()
        yield text
