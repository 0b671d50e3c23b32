create table textmill.chunk (
    job_id uuid not null,
    chunk_no integer not null,
    first_seq bigint not null,
    last_seq bigint not null,
    tokens bigint not null,
    state text not null default 'pending',
    attempt integer not null default 0,
    crashes integer not null default 0,
    not_before timestamptz,
    dispatched_at timestamptz,
    taken_at timestamptz,  -- when a worker last reported that it has the message of this suspect
    lease_expires_at timestamptz,
    worker text,
    suspect boolean not null default false,
    errors integer not null default 0,
    constraint chunk_pkey primary key (job_id, chunk_no),
    constraint chunk_job foreign key (job_id) references textmill.job (job_id) on delete cascade,
    constraint chunk_state check (state in ('pending', 'dispatched', 'running', 'done', 'split',
        'cancelled')),
    constraint chunk_numbers check (chunk_no >= 0 and tokens between 0 and 1000000000000),
    constraint chunk_range check (first_seq between 1 and last_seq and last_seq <= 1000000000000),
    constraint chunk_attempts check (attempt >= 0 and crashes between 0 and attempt),
    constraint chunk_lease check ((state = 'running') = (lease_expires_at is not null)),
    constraint chunk_dispatched check (state not in ('dispatched', 'running')
        or dispatched_at is not null),
    constraint chunk_claimed check (state <> 'running' or (attempt > 0 and worker is not null)),
    constraint chunk_errors check (errors between 0 and attempt)
);

create index chunk_pending on textmill.chunk (job_id, chunk_no) where state = 'pending';

-- The chunks under way: a few for each worker thread, however many wait or are done. Dispatch counts them
-- by lane and by job. Searches for old messages, for leases that ran out, or for the attempts of a worker
-- read all of them.
create index chunk_under_way on textmill.chunk (job_id) include (tokens)
    where state in ('dispatched', 'running');

-- The legal transitions, as schema/states.py has them; a test compares the two.
create function textmill.chunk_may_become(before text, after text) returns boolean
    language sql immutable parallel safe
    set search_path = pg_catalog, pg_temp
as $$
    select (before, after) in (
        ('pending', 'dispatched'), ('pending', 'cancelled'),
        ('dispatched', 'running'), ('dispatched', 'pending'), ('dispatched', 'cancelled'),
        ('running', 'done'), ('running', 'pending'), ('running', 'split'),
        ('running', 'cancelled'),
        ('done', 'pending'), ('cancelled', 'pending')
    )
$$;

-- The attempt is the fencing token: it rises by one with each claim, and never changes otherwise.
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
    if (old.state in ('done', 'cancelled') or new.state = 'cancelled')
        and not pg_has_role((select relowner from pg_class where oid = tg_relid), 'member') then
        raise exception 'chunk % of job % is reopened by textmill.retry and closed by'
            ' textmill.close_chunks alone', new.chunk_no, new.job_id
            using errcode = 'insufficient_privilege';
    end if;
    if new.attempt <> old.attempt + claimed::integer then
        raise exception 'attempt % of chunk % of job % cannot become %', old.attempt,
            new.chunk_no, new.job_id, new.attempt using errcode = 'check_violation';
    end if;
    -- An unchanged time is not checked, so that a clock that is set back stops no chunk.
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

create trigger chunk_added after insert on textmill.chunk
    referencing new table as added for each statement execute function textmill.check_rows_added();
