-- Start the job of a claimed chunk, if it has not started yet. Null if the job may not run, because it
-- was paused or is over.
create function textmill.begin_job(of_job uuid) returns boolean
    language sql security definer
    set search_path = pg_catalog, pg_temp
as $$
    update textmill.job set state = 'running', started_at = coalesce(started_at, now())
    where job_id = of_job and state in ('pending', 'running')
    returning true
$$;

-- The work of a chunk with this range: its documents without an outcome. Halving, retry and cancel rest
-- on this one rule. A document whose text was erased is work as well, since it needs an outcome. No
-- search_path is set, so that Postgres can inline the function. `not in` reads the outcomes of the range
-- once, and most often there are none; an anti-join looks for the outcome of each document, which takes
-- five times as long.
create function textmill.chunk_work(of_job uuid, first_seq bigint, last_seq bigint)
    returns table (seq bigint, text text)
    language sql stable
as $$
    select d.seq, d.text from textmill.document d
    where d.job_id = of_job and d.seq between chunk_work.first_seq and chunk_work.last_seq
        and d.seq not in (
            select r.seq from textmill.result r where r.job_id = of_job
                and r.seq between chunk_work.first_seq and chunk_work.last_seq)
        and d.seq not in (
            select f.seq from textmill.failure f where f.job_id = of_job
                and f.seq between chunk_work.first_seq and chunk_work.last_seq)
$$;

-- Count the outcomes that this transaction wrote, and complete the job with its last one. SECURITY
-- DEFINER, since only the owner may change the counters of an open job.
create function textmill.count_outcomes(of_job uuid, more_succeeded bigint, more_failed bigint)
    returns void
    language sql security definer
    set search_path = pg_catalog, pg_temp
as $$
    update textmill.job set
        succeeded = succeeded + more_succeeded,
        failed = failed + more_failed,
        state = case when whole then 'completed' else state end,
        finished_at = case when whole then now() else finished_at end
    from (
        select accepted = succeeded + failed + cancelled + more_succeeded + more_failed
            and state in ('running', 'paused') as whole
        from textmill.job where job_id = of_job for update
    ) as before
    where job_id = of_job
$$;

-- Wait until nobody holds a lock on a job. A worker that such a lock kept from counting the outcomes of a
-- chunk waits here, and then writes them once more, instead of again and again in vain.
create function textmill.await_job(of_job uuid) returns void
    language sql security definer
    set search_path = pg_catalog, pg_temp
as $$
    select from textmill.job where job_id = of_job for no key update
$$;

-- How an attempt that wrote no outcomes ends. Workers, their supervisors and dispatch all end it here,
-- so that one place decides what becomes of a chunk. SECURITY DEFINER, since only the owner may add
-- chunks to an open job and move its counters. Locks are taken in the order chunk, job.

-- Replace a chunk by two halves that share its documents without an outcome.
-- False, with nothing done, if it has fewer than two of them.
create function textmill.halve_chunk(of_job uuid, of_chunk_no integer, suspected boolean)
    returns boolean
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    whole textmill.chunk;
    work bigint[];
    middle bigint;
    last_no integer;
begin
    select * into whole from textmill.chunk where job_id = of_job and chunk_no = of_chunk_no;
    work := array(
        select w.seq from textmill.chunk_work(of_job, whole.first_seq, whole.last_seq) w
        order by w.seq);
    if cardinality(work) < 2 then
        return false;
    end if;
    middle := work[cardinality(work) / 2];
    -- Under the job's lock, so that no two chunks take the same number.
    perform from textmill.job where job_id = of_job for update;
    select max(chunk_no) into last_no from textmill.chunk where job_id = of_job;
    update textmill.chunk set state = 'split', lease_expires_at = null
        where job_id = of_job and chunk_no = of_chunk_no;
    insert into textmill.chunk (job_id, chunk_no, first_seq, last_seq, tokens, suspect)
    values
        (of_job, last_no + 1, whole.first_seq, middle, whole.tokens / 2, suspected),
        (of_job, last_no + 2, middle + 1, whole.last_seq, whole.tokens - whole.tokens / 2,
            suspected);
    return true;
end
$$;

-- Fail what is left of a chunk: one document, since a chunk with more of them is halved first.
create function textmill.fail_chunk(of_job uuid, of_chunk_no integer, with_code text, why text)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    failed bigint;
begin
    update textmill.chunk set state = 'done', lease_expires_at = null
        where job_id = of_job and chunk_no = of_chunk_no;
    insert into textmill.failure (job_id, seq, code, stage, message, attempt)
    select c.job_id, w.seq, with_code, 'run', why, c.attempt
    from textmill.chunk c
    cross join lateral textmill.chunk_work(c.job_id, c.first_seq, c.last_seq) w
    where c.job_id = of_job and c.chunk_no = of_chunk_no;
    get diagnostics failed = row_count;
    perform textmill.count_outcomes(of_job, 0, failed);
end
$$;

-- End an attempt that wrote no outcomes. `how` says why it ended:
--   released  the chunk was given back unharmed: nothing counts; the next claim may come after `wait`
--             seconds
--   retry     the attempt failed as a whole, which counts; the next claim may come after `wait` seconds
--   given_up  it would fail again: the chunk is halved, down to one document, which fails with `why`
--   crashed   its process died: the chunk becomes a suspect, which runs alone in a process. A suspect is
--             halved, and a single document fails when it has crashed three times alone
-- Returns the new state of the chunk; null, with nothing done, if another attempt owns it by now.
create function textmill.end_attempt(
    of_job uuid, of_chunk_no integer, of_attempt integer, how text, why text default null,
    wait double precision default 0
) returns text
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    ended textmill.chunk;
begin
    select * into ended from textmill.chunk
        where job_id = of_job and chunk_no = of_chunk_no and attempt = of_attempt
            and state = 'running'
        for update;
    if not found then
        return null;
    end if;
    if how not in ('released', 'retry', 'given_up', 'crashed') then
        raise exception 'an attempt does not end as "%"', how
            using errcode = 'invalid_parameter_value';
    end if;
    if (how = 'given_up' or (how = 'crashed' and ended.suspect))
        and textmill.halve_chunk(of_job, of_chunk_no, suspected => how = 'crashed') then
        return 'split';
    end if;
    if how = 'given_up' then
        perform textmill.fail_chunk(of_job, of_chunk_no, 'stage_error',
            coalesce(why, 'every attempt failed'));
        return 'done';
    end if;
    if how = 'crashed' and ended.suspect and ended.crashes >= 2 then
        update textmill.chunk set crashes = crashes + 1
            where job_id = of_job and chunk_no = of_chunk_no;
        perform textmill.fail_chunk(of_job, of_chunk_no, 'worker_crashed',
            'the process that ran this document alone died, three times');
        return 'done';
    end if;
    update textmill.chunk set
        state = 'pending', dispatched_at = null, lease_expires_at = null,
        suspect = case how when 'crashed' then true when 'retry' then false else suspect end,
        crashes = crashes + (how = 'crashed' and ended.suspect)::integer,
        errors = errors + (how = 'retry')::integer,
        not_before = case when wait > 0 then now() + make_interval(secs => wait) end
    where job_id = of_job and chunk_no = of_chunk_no;
    return 'pending';
end
$$;

-- End every attempt whose lease ran out; returns how many. Nobody reported how it ended. If a heartbeat
-- of its worker came after the end of the lease, the process lives and only the lease lapsed: nothing
-- counts. Otherwise the process died, together with its supervisor or its host: that counts as a crash.
--
-- Chunks that are locked, or whose job is locked, are left for the next call: a worker that holds them is
-- about to finish them, and nobody should wait for a person's open transaction.
--
-- A lease that ends more than an hour from now, which is the longest lease, was given before the clock
-- was set back. It is cut to an hour and not ended: a worker that lives renews it.
--
-- A chunk that cannot be ended, for instance because its month of failures was dropped, holds up no other.
create function textmill.rescue_chunks() returns bigint
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    lapsed record;
    rescued bigint := 0;
begin
    with ahead as (
        select job_id, chunk_no from textmill.chunk
        where state = 'running' and lease_expires_at > now() + interval '1 hour'
        for update skip locked
    )
    update textmill.chunk c set lease_expires_at = now() + interval '1 hour'
    from ahead where c.job_id = ahead.job_id and c.chunk_no = ahead.chunk_no;

    for lapsed in
        select c.job_id, c.chunk_no, c.attempt, exists (
            select from textmill.worker w
            where w.worker = c.worker and w.heartbeat_at >= c.lease_expires_at) as alive
        from textmill.chunk c join textmill.job j using (job_id)
        where c.state = 'running' and c.lease_expires_at < now()
            -- Its worker may be alive, and only its next heartbeat tells: they are 10 s apart at most.
            and not exists (
                select from textmill.worker w where w.worker = c.worker
                    and w.heartbeat_at < c.lease_expires_at
                    and w.heartbeat_at > now() - interval '11 seconds')
        order by c.job_id, c.chunk_no
        for update of c, j skip locked
    loop
        begin
            rescued := rescued + (textmill.end_attempt(lapsed.job_id, lapsed.chunk_no,
                lapsed.attempt, case when lapsed.alive then 'released' else 'crashed' end)
                is not null)::integer;
        exception when integrity_constraint_violation then
            raise warning 'chunk % of job % cannot be rescued: %', lapsed.chunk_no, lapsed.job_id,
                sqlerrm;
            -- Tried again in a minute, and not at each step.
            update textmill.chunk set lease_expires_at = now() + interval '1 minute'
                where job_id = lapsed.job_id and chunk_no = lapsed.chunk_no;
        end;
    end loop;
    return rescued;
end
$$;

-- End all attempts of a worker process that is gone; returns how many there were.
create function textmill.end_attempts(of_worker text, how text) returns integer
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    held record;
    ended integer := 0;
begin
    -- All chunks before any job: the lock order.
    perform from textmill.chunk where worker = of_worker and state = 'running'
        order by job_id, chunk_no for update;
    for held in
        select job_id, chunk_no, attempt from textmill.chunk
        where worker = of_worker and state = 'running' order by job_id, chunk_no
    loop
        begin
            perform textmill.end_attempt(held.job_id, held.chunk_no, held.attempt, how);
            ended := ended + 1;
        exception when integrity_constraint_violation then
            raise warning 'chunk % of job % waits for its lease to run out: %', held.chunk_no,
                held.job_id, sqlerrm;
        end;
    end loop;
    delete from textmill.worker where worker = of_worker;
    perform pg_notify('textmill_pending', '');
    return ended;
end
$$;
