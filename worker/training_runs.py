"""Training runs on feedback, as rows in Postgres."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from schema.database import reachable
from schema.documents import Task
from schema.errors import TextmillError
from schema.states import TrainingRunState
from worker.patience import patiently
from worker.registry import Promoted, promote_model
from worker.training.compare import Comparisons


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """What is known when a training run begins.

    Attributes:
        task: the model's task.
        parent: the model that it starts from.
        options: settings of the training run.
        data_hash: hash over all that it learns from.
        trained: judged documents to learn from.
        held_out: judged documents to measure on.
    """

    task: Task
    parent: str
    options: Mapping[str, object]
    data_hash: str
    trained: int
    held_out: int


class RunKey(NamedTuple):
    """Names one training run among those of all databases.

    Attributes:
        run_id: its number, which another database has, too.
        started_at: when it started, aware.
    """

    run_id: int
    started_at: datetime


class Decision(NamedTuple):
    """What becomes of a candidate.

    Attributes:
        better: whether it is better on feedback and not worse elsewhere.
        promoted: whether it serves from now on.
        reason: why, or why not.
    """

    better: bool
    promoted: bool
    reason: str


class TrainingRuns:
    """The rows of `training_run`, each written when the run begins and again when it ends."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database

    def begin(self, run: TrainingRun) -> RunKey:
        """Record that a training run begins."""
        values = {**asdict(run), "options": json.dumps(run.options)}
        with reachable(self._database), self._database.begin() as connection:
            return RunKey(*connection.execute(_BEGIN, values).one())

    def finish(
        self,
        run_id: int,
        run: TrainingRun,
        candidate: str,
        comparisons: Comparisons,
        instead_of: Promoted | None,
    ) -> Decision:
        """Register the candidate, promote it if it is better, and record both in one transaction.

        Waits while Postgres is away: a night's training is at stake. Doing it twice is harmless, so
        an answer that was lost is, too.

        Args:
            run_id: number of the training run.
            run: what was known of it when it began.
            candidate: version of the model that it made.
            comparisons: how the candidate compares with its parent.
            instead_of: promote only if this still serves; None for no promotion.
        """

        def in_one_transaction() -> Decision:
            better, reason = not comparisons.faults, comparisons.reason
            with self._database.begin() as connection:
                connection.execute(
                    _MODEL,
                    {"version": candidate, "task": run.task, "parent": run.parent, "run": run_id},
                )
                promoted = False
                if better and instead_of is None:
                    reason += "; not promoted, as asked"
                elif better:
                    promoted = promote_model(connection, run.task, candidate, instead_of=instead_of)
                    if not promoted:
                        reason += "; not promoted, since another model was meanwhile"
                connection.execute(
                    _FINISH,
                    {
                        "run": run_id,
                        "finished": TrainingRunState.FINISHED,
                        "candidate": candidate,
                        "metrics": comparisons.model_dump_json(),
                        "better": better,
                        "promoted": promoted,
                        "reason": reason,
                    },
                )
            return Decision(better, promoted, reason)

        with reachable(self._database):
            return patiently(in_one_transaction)

    def fail(self, run: RunKey, error: BaseException) -> None:
        """Record that a run failed, quoting only a `TextmillError`: others may hold texts.

        A finished run stays finished: the error may be that the answer to its commit was lost.

        Args:
            run: the training run; nothing happens if it is one of another database.
            error: why it failed.
        """
        said = str(error) if isinstance(error, TextmillError) else type(error).__name__
        with reachable(self._database), self._database.begin() as connection:
            connection.execute(
                _FAIL,
                {
                    **run._asdict(),
                    "running": TrainingRunState.RUNNING,
                    "failed": TrainingRunState.FAILED,
                    "error": said,
                },
            )


_BEGIN = sa.text("""
    insert into textmill.training_run (task, parent, options, data_hash, trained, held_out)
    values (:task, :parent, cast(:options as jsonb), :data_hash, :trained, :held_out)
    returning run_id, started_at
""")
_MODEL = sa.text("""
    insert into textmill.model_version (model_version, task, parent, run_id)
    values (:version, :task, :parent, :run) on conflict do nothing
""")
_FINISH = sa.text("""
    update textmill.training_run set state = :finished, candidate = :candidate,
        metrics = cast(:metrics as jsonb), better = :better, promoted = :promoted,
        reason = :reason, error = null, finished_at = now()
    where run_id = :run
""")
_FAIL = sa.text("""
    update textmill.training_run set state = :failed, error = :error, finished_at = now()
    where run_id = :run_id and started_at = :started_at and state = :running
""")
