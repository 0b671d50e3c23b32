-- Make the monthly partitions of document, result and failure that are missing, for the month of now()
-- and `ahead` more; returns how many. Each is built apart and then attached, so that running readers and
-- writers are not locked out. A call that finds them all waits for nobody; one transaction at a time
-- makes what is missing.
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
            perform textmill.limit_idling();
            perform from textmill.turn where name = 'partitions' for update;
            continue when to_regclass(format('textmill.%I', partition)) is not null;
            execute format('create table textmill.%I (like textmill.%I including all)',
                partition, parent);
            -- Statistics never include the jobs to come, of which the planner would expect a single row:
            -- joins would then read the whole job for each of its documents. Without statistics, the
            -- planner expects a job to be large.
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
