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
    if new.attempt <> old.attempt + claimed::integer then
        raise exception 'attempt % of chunk % of job % cannot become %', old.attempt,
            new.chunk_no, new.job_id, new.attempt using errcode = 'check_violation';
    end if;
    return new;
end
$$;

create trigger chunk_state before update of state, attempt on textmill.chunk for each row
    when (old.state is distinct from new.state or old.attempt is distinct from new.attempt)
    execute function textmill.check_chunk_state();
