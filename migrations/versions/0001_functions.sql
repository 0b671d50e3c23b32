-- Refuse a transaction that sees the database as it was at its beginning. Whoever waits for a row to be
-- alone and then reads must see what was committed while it waited.
create function textmill.needs_read_committed() returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    level constant text := current_setting('transaction_isolation');
begin
    if level not in ('read committed', 'read uncommitted') then
        raise exception 'this cannot be done in a transaction of isolation level %', level
            using errcode = 'invalid_transaction_state',
            hint = 'Begin it with: begin isolation level read committed';
    end if;
end
$$;

-- Monthly partitions of document, result and failure: for the month of now() and `ahead` more.
-- Built aside and attached, so that running readers and writers are not locked out. Whoever finds them
-- all waits for nobody, and one that is missing is made by one transaction at a time.
create function textmill.make_partitions(ahead integer default 2) returns integer
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    parent text;
    partition text;
    month timestamptz;
    made integer := 0;
begin
    for step in 0..least(greatest(ahead, 0), 24) loop
        month := date_trunc('month', now() at time zone 'UTC') at time zone 'UTC';
        month := (month at time zone 'UTC' + make_interval(months => step)) at time zone 'UTC';
        foreach parent in array array['document', 'result', 'failure'] loop
            partition := format('%s_%s', parent, to_char(month at time zone 'UTC', 'YYYYMM'));
            continue when to_regclass(format('textmill.%I', partition)) is not null;
            perform from textmill.turn where name = 'partitions' for update;
            continue when to_regclass(format('textmill.%I', partition)) is not null;
            execute format('create table textmill.%I (like textmill.%I including all)',
                partition, parent);
            -- Statistics never know the jobs to come, and take each of those for a single row: joins
            -- would then read the whole job for each of its documents. Without any, the planner
            -- expects a job to be large.
            execute format('alter table textmill.%I alter column job_id set statistics 0', partition);
            execute format('alter table textmill.%I attach partition textmill.%I'
                ' for values from (%L) to (%L)', parent, partition,
                textmill.job_id_at(month),
                textmill.job_id_at(
                    (month at time zone 'UTC' + interval '1 month') at time zone 'UTC'));
            made := made + 1;
        end loop;
    end loop;
    return made;
end
$$;

select textmill.make_partitions();

-- Whether this transaction, until it ends, is the only step of dispatch. It waits for no other.
create function textmill.dispatch_turn() returns boolean
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform from textmill.turn where name = 'dispatch' for update skip locked;
    return found;
end
$$;

-- Let a job run of which a chunk was claimed. Null: it may not, since it was paused or is over.
create function textmill.begin_job(of_job uuid) returns boolean
    language sql security definer
    set search_path = pg_catalog, pg_temp
as $$
    update textmill.job set state = 'running', started_at = coalesce(started_at, now())
    where job_id = of_job and state in ('pending', 'running')
    returning true
$$;

-- Count the outcomes that this transaction wrote, and complete the job with its last one. SECURITY
-- DEFINER, since nobody else moves the counters of an open job.
create function textmill.count_outcomes(of_job uuid, more_succeeded bigint, more_failed bigint)
    returns void
    language sql security definer
    set search_path = pg_catalog, pg_temp
as $$
    update textmill.job set
        succeeded = succeeded + more_succeeded,
        failed = failed + more_failed,
        state = case when whole then 'completed' else state end,
        finished_at = case when whole then now() end
    from (
        select accepted = succeeded + failed + cancelled + more_succeeded + more_failed
            and state in ('running', 'paused') as whole
        from textmill.job where job_id = of_job for update
    ) as before
    where job_id = of_job
$$;

-- Wait until nobody holds a job: whoever was kept by that from counting the outcomes of a chunk then
-- writes them once more, and not time and again in vain.
create function textmill.await_job(of_job uuid) returns void
    language sql security definer
    set search_path = pg_catalog, pg_temp
as $$
    select from textmill.job where job_id = of_job for no key update
$$;
