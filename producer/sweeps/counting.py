"""The summary of a run, once its job has ended."""

import json
from typing import cast

import sqlalchemy as sa

from producer.sweeps.summary import RUNS_COMPARED, RunCounts, alert, usual_rate
from schema.documents import JobId

_FAIL_WITHOUT_JOB = """
    update textmill.sweep_run r set state = 'failed', finished_at = now(), error = lost.error,
        alert = 'the run failed: ' || lost.error
    from (
        select run_id, 'its job was deleted; its rows, up to ' || to_watermark
            || ', are not swept again' as error
        from textmill.sweep_run s
        where s.state = 'running'
            and not exists (select from textmill.job j where j.job_id = s.job_id)
        for update of s skip locked
    ) as lost
    where r.run_id = lost.run_id
"""


def finish_runs(engine: sa.Engine) -> None:
    """Summarise every run whose job has ended; one whose job was deleted has failed."""
    with engine.begin() as connection:
        connection.execute(sa.text(_FAIL_WITHOUT_JOB))
        ended = connection.execute(
            sa.text("""
                select r.run_id, r.sweep_id, r.job_id, j.accepted, j.failed, j.cancelled
                from textmill.sweep_run r
                join textmill.job j using (job_id)
                where r.state = 'running' and j.state in ('completed', 'cancelled', 'expired')
                for update of r skip locked
            """)
        ).all()
        for run in ended:
            flagged, labels = _flagged(connection, run.job_id)
            counts = RunCounts(
                run.accepted, flagged, labels, failed=run.failed, unfinished=run.cancelled
            )
            summarise(connection, run.sweep_id, run.run_id, counts)


def summarise(connection: sa.Connection, sweep_id: int, run_id: int, counts: RunCounts) -> None:
    """Finish a run: store what it counted, compared with the runs before it."""
    rows = connection.execute(
        sa.text(
            "select swept, flagged, labels from textmill.sweep_run"
            " where sweep_id = :sweep_id and run_id < :run_id and state = 'finished' and swept > 0"
            " order by run_id desc limit :runs"
        ),
        {"sweep_id": sweep_id, "run_id": run_id, "runs": RUNS_COMPARED},
    )
    earlier = [RunCounts(row[0], row[1], cast("dict[str, int]", row[2])) for row in rows]
    connection.execute(
        sa.text(
            "update textmill.sweep_run set state = 'finished', finished_at = now(),"
            " swept = :swept, flagged = :flagged, labels = cast(:labels as jsonb),"
            " usual_rate = :usual_rate, alert = :alert where run_id = :run_id"
        ),
        {
            "run_id": run_id,
            "swept": counts.swept,
            "flagged": counts.flagged,
            "labels": json.dumps(counts.labels),
            "usual_rate": usual_rate(earlier),
            "alert": alert(counts, earlier),
        },
    )


def _flagged(connection: sa.Connection, job_id: JobId) -> tuple[int, dict[str, int]]:
    """How many documents of a job are flagged, in all and with each label."""
    flagged = "job_id = :job_id and (payload ->> 'flagged')::boolean"
    documents = connection.execute(
        sa.text(f"select count(*) from textmill.result where {flagged}"),  # noqa: S608
        {"job_id": job_id},
    ).scalar_one()
    labels = connection.execute(
        sa.text(
            "select held.label, count(*) from textmill.result,"  # noqa: S608
            " jsonb_array_elements_text(payload -> 'labels') as held (label)"
            f" where {flagged} group by held.label order by held.label"
        ),
        {"job_id": job_id},
    )
    return int(documents), {row[0]: row[1] for row in labels}
