-- What people do to jobs. Each function is idempotent: a job that cannot make the transition stays as it
-- is. Functions that move counters, or that mark a job as expired, are SECURITY DEFINER; the others run
-- with the caller's rights.

create function textmill.job_state(job uuid) returns text
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    found_state text;
begin
    select j.state into found_state from textmill.job j
        where j.job_id = job_state.job and j.state <> 'loading';
    if not found then
        raise exception 'there is no job %', job_state.job using errcode = 'no_data_found',
            hint = 'textmill.job_status lists all jobs.';
    end if;
    return found_state;
end
$$;

-- Cancel a job: the outcomes that it has stay, all other documents count as cancelled. It is `cancelling`
-- until its chunks are closed, which dispatch does in its next step.
create function textmill.cancel(job uuid) returns text
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform textmill.limit_idling();
    update textmill.job j set state = 'cancelling'
        where j.job_id = cancel.job and j.state in ('pending', 'running', 'paused');
    perform pg_notify('textmill_pending', '');
    return textmill.job_state(cancel.job);
end
$$;

-- Pause a job: workers begin no further chunk of it, and finish those that they are working on.
create function textmill.pause(job uuid) returns text
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform textmill.limit_idling();
    update textmill.job j set state = 'paused'
        where j.job_id = pause.job and j.state in ('pending', 'running');
    return textmill.job_state(pause.job);
end
$$;

-- Resume a paused job.
create function textmill.resume(job uuid) returns text
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform textmill.limit_idling();
    -- Workers dropped the messages of the paused job, so its chunks are published again.
    update textmill.chunk c set state = 'pending', dispatched_at = null
    from (
        select k.job_id, k.chunk_no from textmill.chunk k
        where k.job_id = resume.job and k.state = 'dispatched' and exists (
            select from textmill.job j where j.job_id = resume.job and j.state = 'paused')
        for update skip locked
    ) as dropped
    where c.job_id = dropped.job_id and c.chunk_no = dropped.chunk_no;
    update textmill.job j
        set state = case when j.started_at is null then 'pending' else 'running' end
        where j.job_id = resume.job and j.state = 'paused';
    perform pg_notify('textmill_pending', '');
    return textmill.job_state(resume.job);
end
$$;

-- Whether all outcomes that a job has counted still exist, and so does the partition for more of them:
-- neither was dropped or detached with its month. Counts the outcomes.
create function textmill.has_outcomes(job uuid) returns boolean
    language sql stable
    set search_path = pg_catalog, pg_temp
as $$
    select succeeded = (select count(*) from textmill.result r where r.job_id = j.job_id)
        and failed = (select count(*) from textmill.failure f where f.job_id = j.job_id)
        and exists (
            -- The names of the partitions of one month have the same ending.
            select from (select tableoid::regclass::text as name from textmill.document d
                where d.job_id = j.job_id limit 1) as held
            join pg_inherits i on i.inhparent = 'textmill.result'::regclass
                and i.inhrelid = to_regclass(replace(held.name, 'document', 'result'))
                and not i.inhdetachpending)
    from textmill.job j where j.job_id = has_outcomes.job
$$;

-- Run the failed documents of a job that is over again, and those that were cancelled; returns how many
-- there are. Documents that were rejected at intake or erased have no text, and one without content would
-- fail again: these stay failed. A deadline that has passed is removed. A chunk with a document that failed
-- with `worker_crashed` stays a suspect.
create function textmill.retry(job uuid) returns bigint
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    again bigint;
    stopped bigint;
    reopened bigint;
begin
    perform textmill.limit_idling();
    if textmill.job_state(retry.job) not in ('completed', 'cancelled', 'expired') then
        return 0;
    end if;
    select cancelled into stopped from textmill.job j where j.job_id = retry.job;
    -- Before a chunk is locked: whoever deletes a job locks the job first, and its chunks after it.
    if stopped > 0
            and not exists (select from textmill.document d where d.job_id = retry.job) then
        raise exception 'the documents of job % are gone: its month was pruned', retry.job
            using errcode = 'data_exception', hint = 'Submit them as a job of their own.';
    end if;
    update textmill.chunk c set state = 'pending', dispatched_at = null, not_before = null,
        crashes = 0, errors = 0
        where c.job_id = retry.job and c.state = 'cancelled' and stopped > 0;
    get diagnostics reopened = row_count;
    with work as (
        select c.chunk_no, f.seq, f.code
        from textmill.chunk c
        join textmill.failure f on f.job_id = c.job_id and f.seq between c.first_seq and c.last_seq
        join textmill.document d on d.job_id = f.job_id and d.seq = f.seq
        where c.job_id = retry.job and c.state = 'done' and d.text is not null
            and f.stage <> 'intake' and f.code <> 'no_content'
    ), reopened as (
        update textmill.chunk c set state = 'pending', dispatched_at = null, not_before = null,
            crashes = 0, errors = 0, suspect = w.crashed
        from (
            select chunk_no, bool_or(code = 'worker_crashed') as crashed from work group by chunk_no
        ) as w
        where c.job_id = retry.job and c.chunk_no = w.chunk_no and c.state = 'done'
        returning c.chunk_no
    ), gone as (
        delete from textmill.failure f using work join reopened using (chunk_no)
        where f.job_id = retry.job and f.seq = work.seq
        returning f.seq
    )
    select count(*) into again from gone;
    if again + stopped > 0 then
        update textmill.job j
            set state = case when j.started_at is null then 'pending' else 'running' end,
            failed = j.failed - again, cancelled = 0, expired = false, finished_at = null,
            deadline_at = case when j.deadline_at > now() then j.deadline_at end
        where j.job_id = retry.job and j.state in ('completed', 'cancelled', 'expired')
            and j.cancelled = stopped;
        if not found and reopened = 0 and again = 0 then
            return 0;  -- another retry was first
        end if;
        -- Chunks that were halved and cancelled since the first statement above would stay closed.
        if not found or (stopped > 0 and exists (select from textmill.chunk c
                where c.job_id = retry.job and c.state = 'cancelled')) then
            raise exception 'job % changed meanwhile', retry.job
                using errcode = 'serialization_failure', hint = 'Try again.';
        end if;
        -- Checked last, when nobody else can change the job. Documents whose outcomes are missing would
        -- count as work, and their new outcomes could not be stored.
        if not textmill.has_outcomes(retry.job) then
            raise exception 'outcomes of job % are gone: its month was dropped in part', retry.job
                using errcode = 'data_exception',
                hint = 'Submit the documents that failed as a job of their own.';
        end if;
        perform pg_notify('textmill_pending', '');
    end if;
    return again + stopped;
end
$$;

-- Set every job whose deadline has passed to `cancelling`; returns how many. Locked jobs are left for the
-- next call.
create function textmill.expire_jobs() returns bigint
    language sql security definer
    set search_path = pg_catalog, pg_temp
as $$
    with late as (
        select job_id from textmill.job
        where deadline_at <= now() and state in ('pending', 'running', 'paused')
        for update skip locked
    ), ended as (
        update textmill.job j set state = 'cancelling', expired = true
        from late where j.job_id = late.job_id
        returning j.job_id
    )
    select count(*) from ended
$$;

-- Close up to `batch` open chunks of a `cancelling` job, and end the job with the last of them; returns
-- how many it closed. Attempts at them lose their fence. Locked chunks, and a locked job, are left for the
-- next call.
create function textmill.close_chunks(job uuid, batch integer default 1000) returns integer
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    closed integer;
    held integer[];
begin
    held := array(
        select k.chunk_no from textmill.chunk k
        where k.job_id = close_chunks.job and k.state in ('pending', 'dispatched', 'running')
            and exists (
                select from textmill.job j
                where j.job_id = close_chunks.job and j.state = 'cancelling')
        order by k.chunk_no limit batch
        for update skip locked);
    -- A statement of its own, which sees a job that was ended and retried before its chunks were locked.
    update textmill.chunk c
        set state = 'cancelled', lease_expires_at = null
        where c.job_id = close_chunks.job and c.chunk_no = any (held) and exists (
            select from textmill.job j
            where j.job_id = close_chunks.job and j.state = 'cancelling');
    get diagnostics closed = row_count;
    perform from textmill.job l
        where l.job_id = close_chunks.job and l.state = 'cancelling' for update skip locked;
    if found then
        update textmill.job j set
            cancelled = j.accepted - j.succeeded - j.failed,
            state = case when j.expired then 'expired' else 'cancelled' end,
            finished_at = now()
        where j.job_id = close_chunks.job and j.state = 'cancelling' and not exists (
            select from textmill.chunk k where k.job_id = close_chunks.job
                and k.state in ('pending', 'dispatched', 'running'));
    end if;
    return closed;
end
$$;
