-- Make a loading job; null when the idempotency key is taken.
create or replace function textmill.start_job(of_task text, options jsonb, content_hash bytea) returns uuid
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    known constant text[] := array['name', 'lane', 'idempotency_key', 'weight', 'deadline_at',
        'explain', 'model_version'];
    option text;
    made uuid;
begin
    if of_task is null or of_task not in ('sentiment', 'keywords', 'moderation') then
        raise exception 'there is no task "%"', of_task
            using errcode = 'invalid_parameter_value',
            hint = 'The tasks are sentiment, keywords and moderation.';
    end if;
    if jsonb_typeof(options) is distinct from 'object' then
        raise exception 'the options are no JSON object'
            using errcode = 'invalid_parameter_value',
            hint = 'For instance: {"name": "reviews", "lane": "bulk"}';
    end if;
    for option in select jsonb_object_keys(options) loop
        if option <> all (known) then
            raise exception 'there is no option "%"', option
                using errcode = 'invalid_parameter_value',
                hint = 'The options are ' || array_to_string(known, ', ') || '.';
        end if;
        if option in ('name', 'lane', 'idempotency_key', 'deadline_at', 'model_version')
                and jsonb_typeof(options -> option) not in ('string', 'null')
            or option = 'weight' and jsonb_typeof(options -> option) <> 'number'
            or option = 'explain' and jsonb_typeof(options -> option) <> 'boolean' then
            raise exception 'the option "%" is a %', option, jsonb_typeof(options -> option)
                using errcode = 'invalid_parameter_value',
                hint = case option when 'weight' then 'It must be a whole number from 1 to 1000.'
                    when 'explain' then 'It must be true or false.'
                    else 'It must be a string.' end;
        end if;
        if option in ('name', 'idempotency_key')
                and char_length(options ->> option) not between 1 and 200 then
            raise exception 'the option "%" has % characters', option,
                    char_length(options ->> option)
                using errcode = 'invalid_parameter_value', hint = 'It may have 1 to 200.';
        end if;
    end loop;
    if coalesce(options ->> 'lane', 'bulk') not in ('interactive', 'bulk') then
        raise exception 'there is no lane "%"', options ->> 'lane'
            using errcode = 'invalid_parameter_value',
            hint = 'The lanes are interactive and bulk.';
    end if;
    if coalesce(options ->> 'weight', '1') !~ '^[0-9]{1,4}$'
            or coalesce(options ->> 'weight', '1')::integer not between 1 and 1000 then
        raise exception 'the option "weight" is %', options ->> 'weight'
            using errcode = 'invalid_parameter_value',
            hint = 'It must be a whole number from 1 to 1000.';
    end if;
    if options ->> 'model_version' is not null then
        perform textmill.check_model(of_task, options ->> 'model_version');
    end if;
    -- Dispatch makes them further ahead: the first submit of a month has none to make, so that no
    -- other waits for the end of its transaction.
    perform textmill.make_partitions(1);
    insert into textmill.job (task, lane, name, idempotency_key, content_hash, weight, deadline_at,
            options)
        values (of_task, coalesce(options ->> 'lane', 'bulk'), options ->> 'name',
            options ->> 'idempotency_key',
            case when options ->> 'idempotency_key' is not null then start_job.content_hash end,
            coalesce(options ->> 'weight', '1')::integer,
            (options ->> 'deadline_at')::timestamptz,
            jsonb_strip_nulls(jsonb_build_object(
                'explain', nullif((options ->> 'explain')::boolean, false),
                'model_version', options ->> 'model_version')))
        on conflict on constraint job_idempotency_key do nothing
        returning job_id into made;
    return made;
end
$$;
