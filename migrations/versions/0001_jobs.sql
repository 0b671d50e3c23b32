-- Job ids: UUIDv7, so that ids order by time, and made here, so that no client's clock matters.
create function textmill.new_job_id() returns uuid
    language sql volatile parallel safe
    set search_path = pg_catalog, pg_temp
as $$
    -- RFC 9562: 48 bits of milliseconds over the head of a random UUIDv4, then version 4 -> 7.
    select encode(
        set_bit(set_bit(
            overlay(
                uuid_send(gen_random_uuid())
                placing substring(
                    int8send(floor(extract(epoch from clock_timestamp()) * 1000)::bigint) from 3
                )
                from 1 for 6
            ), 52, 1), 53, 1),
        'hex')::uuid
$$;

-- The lowest id that a job created at that time can have: turns a query by time into one by job_id.
create function textmill.job_id_at(at timestamptz) returns uuid
    language sql immutable strict parallel safe
    set search_path = pg_catalog, pg_temp
as $$
    -- Clamped to the 48 bits of an id, so that times before 1970 and infinities compare as they should.
    select (lpad(to_hex(least(greatest(floor(extract(epoch from at) * 1000), 0),
        281474976710655)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

create table textmill.job (
    job_id uuid not null default textmill.new_job_id(),
    task text not null,
    lane text not null,
    name text,
    submitted_by text not null default session_user,
    idempotency_key text,
    content_hash bytea,
    state text not null default 'loading',
    options jsonb not null default '{}'::jsonb,
    accepted bigint not null default 0,
    rejected bigint not null default 0,
    succeeded bigint not null default 0,
    failed bigint not null default 0,
    cancelled bigint not null default 0,
    weight integer not null default 1,
    deadline_at timestamptz,
    created_at timestamptz not null default now(),
    loaded_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,
    expired boolean not null default false,
    constraint job_pkey primary key (job_id),
    constraint job_idempotency_key unique (submitted_by, idempotency_key),
    constraint job_task check (task in ('sentiment', 'keywords', 'moderation')),
    constraint job_lane check (lane in ('interactive', 'bulk')),
    constraint job_state check (state in ('loading', 'pending', 'running', 'paused',
        'cancelling', 'completed', 'cancelled', 'expired')),
    constraint job_name check (char_length(name) between 1 and 200),
    constraint job_options check (jsonb_typeof(options) = 'object'
        and jsonb_typeof(options -> 'explain') = 'boolean'
        and jsonb_typeof(options -> 'generate') = 'boolean'
        and jsonb_typeof(options -> 'model_version') = 'string'),
    constraint job_weight check (weight between 1 and 1000),
    constraint job_counters check (accepted >= 0 and rejected >= 0 and succeeded >= 0
        and cancelled >= 0 and failed >= rejected),
    -- So many documents that no sum over all jobs overflows.
    constraint job_accepted check (accepted <= 1000000000000),
    constraint job_conservation check (succeeded + failed + cancelled <= accepted),
    constraint job_finished check ((state in ('completed', 'cancelled', 'expired'))
        = (finished_at is not null)),
    constraint job_finished_whole check (state not in ('completed', 'cancelled', 'expired')
        or succeeded + failed + cancelled = accepted),
    constraint job_idempotency check (idempotency_key is null or content_hash is not null),
    -- A time that every program can read, in any time zone; null means no deadline.
    constraint job_deadline_at check (deadline_at
        between '1970-01-01 00:00Z'::timestamptz and '9999-01-01 00:00Z'::timestamptz),
    constraint job_expired check (state = 'cancelling' or expired = (state = 'expired'))
) with (fillfactor = 70);  -- counters are updated in place, once per chunk

create index job_created on textmill.job (created_at);
create index job_live on textmill.job (lane, job_id)
    where state in ('loading', 'pending', 'running', 'cancelling');
create index job_unfinished on textmill.job (submitted_by) where finished_at is null;
create index job_deadline on textmill.job (deadline_at)
    where state in ('pending', 'running', 'paused') and deadline_at is not null;

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
        ('completed', 'running'),
        ('cancelled', 'pending'), ('cancelled', 'running'),
        ('expired', 'pending'), ('expired', 'running')
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

-- Tells every session that listens, of any role: so there is no name and no count in it.
create function textmill.announce_end() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform pg_notify('textmill_job_ended', json_build_object(
        'job_id', new.job_id, 'task', new.task, 'state', new.state)::text);
    return null;
end
$$;

create trigger job_ended after update of state on textmill.job for each row
    when (old.finished_at is null and new.finished_at is not null)
    execute function textmill.announce_end();

-- Once a job is open, it and its documents stay as they were handed over, its outcomes stay, and only
-- outcomes move its counters. Only the owner may change any of these, and so may the functions of this
-- schema that run with the owner's rights. A producer may do anything with a job that is still loading.
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

-- Other roles may pause, resume and cancel an open job, and change its name, weight and deadline, but
-- nothing else: a job that is pending although it was started, or running although it was not, might
-- never end, and neither might a job that is reopened.
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

-- The same for the documents of a job and their failures.
create function textmill.check_rows_kept() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    touched constant uuid[] := array(select distinct job_id from before);
begin
    if pg_has_role((select relowner from pg_class where oid = tg_relid), 'member') then
        return null;
    end if;
    -- Whoever opens one of these jobs waits for this transaction, or was first and is seen below.
    perform from textmill.job where job_id = any (touched) for share;
    if exists (select from textmill.job where job_id = any (touched) and state <> 'loading') then
        raise exception 'a document and its outcome stay as they are once their job is open'
            using errcode = 'insufficient_privilege';
    end if;
    return null;
end
$$;

-- Documents, chunks and failures are added while their job loads. Once it is open, only the owner's
-- functions add chunks, and only they and roles that may write results add failures. A trigger for each
-- statement, since one for each row would double the time of COPY.
create function textmill.check_rows_added() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    touched constant uuid[] := array(select distinct job_id from added);
begin
    if pg_has_role((select relowner from pg_class where oid = tg_relid), 'member')
        or (tg_table_name = 'failure' and has_table_privilege('textmill.result', 'insert')) then
        return null;
    end if;
    perform from textmill.job where job_id = any (touched) for share;  -- as in check_rows_kept
    if (select count(*) from textmill.job where job_id = any (touched) and state = 'loading')
        < cardinality(touched) then
        raise exception 'documents, chunks and failures are added while their job loads'
            using errcode = 'insufficient_privilege';
    end if;
    return null;
end
$$;

-- Views tell the time by statement_timestamp(): now() stands still in the transaction of a client that
-- looks again and again, and never commits.
create view textmill.job_status as
select job_id, task, name, lane, state, accepted, succeeded, failed, cancelled,
    accepted - succeeded - failed - cancelled as pending,
    rejected,
    case when succeeded + failed = accepted then 100.0
        else least(round(100.0 * (succeeded + failed) / accepted, 1), 99.9) end as percent,
    submitted_by, created_at, started_at, finished_at,
    rate::real as documents_per_second,
    -- Beyond a year an estimate means nothing, and far beyond it Postgres has no such time.
    case when state = 'running'
            and accepted - succeeded - failed - cancelled < rate * 365 * 24 * 60 * 60
        then statement_timestamp()
            + make_interval(secs => (accepted - succeeded - failed - cancelled) / rate)
        end as eta,
    coalesce(finished_at, statement_timestamp()) - created_at as age,
    deadline_at, weight, idempotency_key,
    coalesce((options ->> 'explain')::boolean, false) as explain,
    coalesce((options ->> 'generate')::boolean, false) as generate,
    options ->> 'model_version' as model_version
from textmill.job
cross join lateral (
    select (succeeded + failed - rejected)
        / nullif(extract(epoch from coalesce(finished_at, statement_timestamp()) - started_at)
            ::double precision, 0) as rate
) as speed
where state <> 'loading';

comment on view textmill.job_status is
    'One row per job. accepted = succeeded + failed + cancelled + pending, at every instant.';
comment on column textmill.job_status.job_id is 'Id of the job; ids order by time of creation.';
comment on column textmill.job_status.task is 'sentiment, keywords or moderation.';
comment on column textmill.job_status.name is 'Name that the submitter gave.';
comment on column textmill.job_status.lane is 'interactive or bulk.';
comment on column textmill.job_status.state is
    'pending, running, paused, cancelling, completed, cancelled or expired.';
comment on column textmill.job_status.accepted is
    'Documents handed over, including those rejected at intake.';
comment on column textmill.job_status.succeeded is 'Documents with a result.';
comment on column textmill.job_status.failed is 'Documents with a failure; see job_failure_summary.';
comment on column textmill.job_status.cancelled is
    'Documents without an outcome when the job was cancelled or expired.';
comment on column textmill.job_status.pending is 'Documents without an outcome so far.';
comment on column textmill.job_status.rejected is 'Failed documents that were rejected at intake.';
comment on column textmill.job_status.percent is
    'Share of the documents that succeeded or failed, 0 to 100; cancelled ones did neither. 100 if all of'
    ' them did, and for an empty job.';
comment on column textmill.job_status.submitted_by is 'Who submitted the job.';
comment on column textmill.job_status.created_at is 'When loading began.';
comment on column textmill.job_status.started_at is 'When the first chunk was claimed.';
comment on column textmill.job_status.finished_at is
    'When the last outcome was written; if cancelled or expired, when the last chunk was closed; if'
    ' nothing could run, when the job was opened; null until then.';
comment on column textmill.job_status.documents_per_second is
    'Outcomes a second since the first claim, pauses included, and the time for which a job that was retried'
    ' had been over.';
comment on column textmill.job_status.eta is
    'When a running job will be done at this rate; null beyond a year.';
comment on column textmill.job_status.age is
    'Time since created_at; for a job that has ended, from created_at to finished_at.';
comment on column textmill.job_status.deadline_at is 'When the job expires unless it is done.';
comment on column textmill.job_status.weight is
    'Its share against the other jobs of its lane, 1 to 1000.';
comment on column textmill.job_status.idempotency_key is
    'The key with which its submitter may submit it again without making another job.';
comment on column textmill.job_status.explain is 'Whether results say which words moved each score.';
comment on column textmill.job_status.generate is
    'Whether results have keywords that the text does not contain.';
comment on column textmill.job_status.model_version is
    'The model that the job is pinned to; null if the promoted one serves it.';
