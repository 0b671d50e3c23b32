alter table textmill.job
    add column expired boolean not null default false,
    add constraint job_expired check (state = 'cancelling' or expired = (state = 'expired'));

create index job_unfinished on textmill.job (submitted_by) where finished_at is null;
create index job_deadline on textmill.job (deadline_at)
    where state in ('pending', 'running', 'paused') and deadline_at is not null;

alter table textmill.chunk
    add column suspect boolean not null default false,
    add column alone boolean not null default false,
    add column errors integer not null default 0,
    add constraint chunk_alone check (not alone or (suspect and state = 'running')),
    add constraint chunk_errors check (errors between 0 and attempt);

-- The legal transitions, as schema/states.py has them; a test compares the two.
create function textmill.job_may_become(before text, after text) returns boolean
    language sql immutable parallel safe
    set search_path = pg_catalog, pg_temp
as $$
    select (before, after) in (
        ('loading', 'pending'), ('loading', 'completed'),
        ('pending', 'running'), ('pending', 'paused'), ('pending', 'cancelling'),
        ('running', 'completed'), ('running', 'paused'), ('running', 'cancelling'),
        ('paused', 'pending'), ('paused', 'running'), ('paused', 'completed'),
        ('paused', 'cancelling'),
        ('cancelling', 'cancelled'), ('cancelling', 'expired'),
        ('completed', 'running')
    )
$$;

create function textmill.chunk_may_become(before text, after text) returns boolean
    language sql immutable parallel safe
    set search_path = pg_catalog, pg_temp
as $$
    select (before, after) in (
        ('pending', 'dispatched'), ('pending', 'cancelled'),
        ('dispatched', 'running'), ('dispatched', 'pending'), ('dispatched', 'cancelled'),
        ('running', 'done'), ('running', 'pending'), ('running', 'split'),
        ('running', 'cancelled'),
        ('done', 'pending')
    )
$$;

create function textmill.check_job_state() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if not textmill.job_may_become(old.state, new.state) then
        raise exception 'job % cannot go from % to %', new.job_id, old.state, new.state
            using errcode = 'check_violation';
    end if;
    return new;
end
$$;

create trigger job_state before update of state on textmill.job for each row
    when (old.state is distinct from new.state) execute function textmill.check_job_state();

-- The attempt is the fencing token: it moves by one with each claim, and never otherwise.
create function textmill.check_chunk_state() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    claimed constant boolean := new.state = 'running' and old.state <> 'running';
begin
    if new.state <> old.state and not textmill.chunk_may_become(old.state, new.state) then
        raise exception 'chunk % of job % cannot go from % to %', new.chunk_no, new.job_id,
            old.state, new.state using errcode = 'check_violation';
    end if;
    if (old.state = 'done' or new.state = 'cancelled')
        and not pg_has_role((select relowner from pg_class where oid = tg_relid), 'member') then
        raise exception 'chunk % of job % is reopened by textmill.retry and closed by'
            ' textmill.close_chunks alone', new.chunk_no, new.job_id
            using errcode = 'insufficient_privilege';
    end if;
    if new.attempt <> old.attempt + claimed::integer then
        raise exception 'attempt % of chunk % of job % cannot become %', old.attempt,
            new.chunk_no, new.job_id, new.attempt using errcode = 'check_violation';
    end if;
    -- Whatever the clock does, a chunk whose time stays as it was goes on.
    if new.dispatched_at > now() and new.dispatched_at is distinct from old.dispatched_at then
        raise exception 'chunk % of job % cannot be dispatched in the future: it would never be'
            ' published again', new.chunk_no, new.job_id using errcode = 'check_violation';
    end if;
    return new;
end
$$;

create trigger chunk_state before update of state, attempt, dispatched_at on textmill.chunk
    for each row
    when ((old.state, old.attempt, old.dispatched_at)
        is distinct from (new.state, new.attempt, new.dispatched_at))
    execute function textmill.check_chunk_state();

-- Once a job is open, it and its documents stay as they were handed over, its outcomes stay, and its
-- counters move with outcomes alone: no role may change them, but the owner, and so the functions of
-- this schema that run with the owner's rights. Whoever loads a job may do anything with it.
create function textmill.check_job_kept() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if not pg_has_role((select relowner from pg_class where oid = tg_relid), 'member') then
        raise exception 'job % is open: it stays as it was handed over, only outcomes move its'
            ' counters, only textmill.retry reopens it, and it is not deleted', old.job_id
            using errcode = 'insufficient_privilege';
    end if;
    return coalesce(new, old);
end
$$;

-- Others pause, resume and cancel it, and change its name, weight and deadline. A job that is pending
-- though it was started, or runs though it was not, might never end; so would one that is reopened.
create trigger job_kept before update on textmill.job for each row
    when (old.state <> 'loading' and (
        (old.job_id, old.task, old.lane, old.submitted_by, old.idempotency_key, old.content_hash,
            old.options, old.accepted, old.rejected, old.succeeded, old.failed, old.cancelled,
            old.created_at, old.loaded_at, old.started_at, old.finished_at, old.expired)
        is distinct from
            (new.job_id, new.task, new.lane, new.submitted_by, new.idempotency_key,
                new.content_hash, new.options, new.accepted, new.rejected, new.succeeded,
                new.failed, new.cancelled, new.created_at, new.loaded_at, new.started_at,
                new.finished_at, new.expired)
        or new.state in ('pending', 'running')
            and (new.state = 'pending') <> (new.started_at is null)))
    execute function textmill.check_job_kept();
create trigger job_deleted before delete on textmill.job for each row
    when (old.state <> 'loading') execute function textmill.check_job_kept();

create function textmill.check_rows_kept() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if not pg_has_role((select relowner from pg_class where oid = tg_relid), 'member')
        and exists (
            select from (select distinct job_id from before) as touched
            join textmill.job j using (job_id) where j.state <> 'loading') then
        raise exception 'a document and its outcome stay as they are once their job is open'
            using errcode = 'insufficient_privilege';
    end if;
    return null;
end
$$;

create trigger document_changed after update on textmill.document
    referencing old table as before for each statement execute function textmill.check_rows_kept();
create trigger document_deleted after delete on textmill.document
    referencing old table as before for each statement execute function textmill.check_rows_kept();
create trigger failure_deleted after delete on textmill.failure
    referencing old table as before for each statement execute function textmill.check_rows_kept();

-- Documents, chunks and failures are added while their job loads. Once it is open, the owner's
-- functions add chunks and failures, and whoever may write results adds failures. For each statement:
-- a trigger for each row would double the time of COPY.
create function textmill.check_rows_added() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if not pg_has_role((select relowner from pg_class where oid = tg_relid), 'member')
        and not (tg_table_name = 'failure'
            and has_table_privilege('textmill.result', 'insert'))
        and exists (
            select from (select distinct job_id from added) as touched
            where not exists (
                select from textmill.job j
                where j.job_id = touched.job_id and j.state = 'loading')) then
        raise exception 'documents, chunks and failures are added while their job loads'
            using errcode = 'insufficient_privilege';
    end if;
    return null;
end
$$;

create trigger document_added after insert on textmill.document
    referencing new table as added for each statement execute function textmill.check_rows_added();
create trigger chunk_added after insert on textmill.chunk
    referencing new table as added for each statement execute function textmill.check_rows_added();
create trigger failure_added after insert on textmill.failure
    referencing new table as added for each statement execute function textmill.check_rows_added();

create function textmill.check_failure_alone() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if not pg_has_role((select relowner from pg_class where oid = tg_relid), 'member')
        and exists (
            -- By the key, one by one, in one partition: however large the job is.
            select from added cross join lateral (
                select from textmill.result r
                where r.job_id = added.job_id and r.seq = added.seq limit 1) as beside) then
        raise exception 'a document that has a result does not fail'
            using errcode = 'insufficient_privilege';
    end if;
    return null;
end
$$;

create trigger failure_alone after insert on textmill.failure
    referencing new table as added for each statement
    execute function textmill.check_failure_alone();
