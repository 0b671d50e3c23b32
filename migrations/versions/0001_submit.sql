-- Submitting with SQL alone, inside the caller's own transaction and with the caller's rights.

-- Create a job that is `loading`; null if the idempotency key is taken.
create function textmill.start_job(of_task text, options jsonb, content_hash bytea) returns uuid
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    known constant text[] := array['name', 'lane', 'idempotency_key', 'weight', 'deadline_at',
        'explain', 'generate', 'model_version'];
    option text;
    deadline timestamptz;
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
            or option in ('explain', 'generate') and jsonb_typeof(options -> option) <> 'boolean' then
            raise exception 'the option "%" is of type %', option, jsonb_typeof(options -> option)
                using errcode = 'invalid_parameter_value',
                hint = case
                    when option = 'weight' then 'It must be a whole number from 1 to 1000.'
                    when option in ('explain', 'generate') then 'It must be true or false.'
                    else 'It must be a string.' end;
        end if;
        if option in ('name', 'idempotency_key')
                and char_length(options ->> option) not between 1 and 200 then
            raise exception 'the option "%" has % characters', option,
                    char_length(options ->> option)
                using errcode = 'invalid_parameter_value', hint = 'It may have 1 to 200.';
        end if;
    end loop;
    if (options ->> 'explain')::boolean and of_task = 'keywords' then
        raise exception 'keywords have no score of the document to explain'
            using errcode = 'invalid_parameter_value', hint = 'Leave the option "explain" out.';
    end if;
    if (options ->> 'generate')::boolean and of_task <> 'keywords' then
        raise exception 'only keywords can be generated, not %', of_task
            using errcode = 'invalid_parameter_value', hint = 'Leave the option "generate" out.';
    end if;
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
    begin
        deadline := options ->> 'deadline_at';
    exception when data_exception then
        deadline := 'infinity';
    end;
    if deadline not between '1970-01-01 00:00Z' and '9999-01-01 00:00Z' then
        raise exception 'the option "deadline_at" is "%"', options ->> 'deadline_at'
            using errcode = 'invalid_parameter_value',
            hint = 'It must be a time before the year 9999, for instance 2026-03-13 18:00+00.';
    end if;
    if options ->> 'model_version' is not null then
        perform textmill.check_model(of_task, options ->> 'model_version');
    end if;
    -- Dispatch makes partitions further ahead, so the first submit of a month has none to make, and no
    -- other submit waits for the end of its transaction.
    perform textmill.make_partitions(1);
    insert into textmill.job (task, lane, name, idempotency_key, content_hash, weight, deadline_at,
            options)
        values (of_task, coalesce(options ->> 'lane', 'bulk'), options ->> 'name',
            options ->> 'idempotency_key',
            case when options ->> 'idempotency_key' is not null then start_job.content_hash end,
            coalesce(options ->> 'weight', '1')::integer,
            deadline,
            jsonb_strip_nulls(jsonb_build_object(
                'explain', nullif((options ->> 'explain')::boolean, false),
                'generate', nullif((options ->> 'generate')::boolean, false),
                'model_version', options ->> 'model_version')))
        on conflict on constraint job_idempotency_key do nothing
        returning job_id into made;
    -- Checked for a new job only: a repeated submit may come after the deadline.
    if made is not null and deadline < now() then
        raise exception 'the deadline % has passed', options ->> 'deadline_at'
            using errcode = 'invalid_parameter_value', hint = 'Name a later one, or none.';
    end if;
    return made;
end
$$;

-- The job that holds the idempotency key; an error if it was made of other content.
create function textmill.same_job(key text, hash bytea) returns uuid
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    first record;
begin
    select job_id, content_hash into first from textmill.job
        where submitted_by = session_user and idempotency_key = key;
    if not found then
        raise exception 'the job with the idempotency key "%" was deleted meanwhile', key
            using errcode = 'serialization_failure', hint = 'Submit the documents again.';
    end if;
    if first.content_hash = hash then
        return first.job_id;
    end if;
    raise exception 'the idempotency key "%" was used before, by job %, for another task or other documents',
            key, first.job_id
        using errcode = 'unique_violation', hint = 'Choose another key for them.';
end
$$;

-- Open a loading job that is complete, so that everybody sees it. Chunks were cut before duplicates were
-- rejected: a chunk without a document left to run is deleted, since it would still be open when the job
-- ends. SECURITY DEFINER, since nobody else may delete a chunk.
create function textmill.open_job(of_job uuid, total bigint, rejected bigint) returns void
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    update textmill.job set accepted = total, rejected = open_job.rejected,
            failed = open_job.rejected,
            state = case when total = open_job.rejected then 'completed' else 'pending' end,
            finished_at = case when total = open_job.rejected then now() end
        where job_id = of_job and state = 'loading';
    if not found then
        return;
    end if;
    -- Documents are numbered from 1 without gaps; the last number is found by the key.
    if total <> (select coalesce(max(seq), 0) from textmill.document where job_id = of_job) then
        raise exception 'job % cannot be opened with % documents: its last one has another number',
            of_job, total using errcode = 'check_violation';
    end if;
    if rejected <> (select count(*) from textmill.failure f where f.job_id = of_job) then
        raise exception 'job % cannot be opened with % rejected documents: it has another number of'
            ' failures', of_job, rejected using errcode = 'check_violation';
    end if;
    delete from textmill.chunk c
        where c.job_id = of_job and not exists (
            select from textmill.document d
            where d.job_id = of_job and d.seq between c.first_seq and c.last_seq
                and d.text is not null
            -- Prevents a join, which would read every document instead of the first of each chunk.
            offset 0);
    perform pg_notify('textmill_pending', '');
end
$$;

-- Reject bad documents of a job whose documents are all loaded, cut it into chunks, and open it.
create function textmill.finish_load(of_job uuid) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    total bigint;
    rejected bigint;
begin
    select count(*) into total from textmill.document where job_id = of_job;
    perform textmill.check_size(total);
    perform textmill.reject_documents(of_job);
    select count(*) into rejected from textmill.failure where job_id = of_job;
    perform textmill.cut_chunks(of_job, total);
    perform textmill.open_job(of_job, total, rejected);
    -- Last, when the job's row has its counts: other submits wait from here to the end of this transaction.
    perform textmill.check_pending();
end
$$;

-- Submit an array of objects with `text` and `id`; all other fields are kept as metadata.
create function textmill.submit(task text, documents jsonb, options jsonb default '{}')
    returns uuid
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    hash bytea;
    made uuid;
begin
    if jsonb_typeof(documents) is distinct from 'array' then
        raise exception 'the documents are no JSON array'
            using errcode = 'invalid_parameter_value',
            hint = 'For instance: [{"id": "1", "text": "Works like a charm."}]';
    end if;
    hash := sha256(convert_to(task || E'\n' || documents::text, 'UTF8'));
    made := textmill.start_job(task, options, hash);
    if made is null then
        return textmill.same_job(options ->> 'idempotency_key', hash);
    end if;
    with given as (
        select n, e, jsonb_typeof(e) = 'object' as whole,
            case when jsonb_typeof(e) = 'object' then e -> 'id' end as id,
            coalesce(jsonb_typeof(e -> 'text'), 'null') as text_type
        from jsonb_array_elements(documents) with ordinality as list (e, n)
    ), identified as (
        select *, case when whole then textmill.known_id(id, n) end as known_id from given
    ), loaded as (
        insert into textmill.document (job_id, seq, external_id, text, metadata)
        select made, n, known_id,
            case when whole and text_type = 'string' then e ->> 'text' end,
            case when whole then nullif(e - 'id' - 'text', '{}') end
        from identified
    )
    insert into textmill.failure (job_id, seq, code, stage, message, attempt)
    select made, n,
        case when whole and known_id is null then 'invalid_id' else 'invalid_record' end,
        'intake',
        case
            when not whole then 'the record is JSON but no object; write {"text": ...}'
            when known_id is not null then
                format('the text is of type %s; it must be a string', text_type)
            when jsonb_typeof(id) = 'string' or id::text ~ '^-?[0-9]+$' then
                format('the id must have 1 to %s characters, not be blank, and hold no control character',
                    textmill.limit_of('max_id_characters'))
            else format('the id is of type %s; it must be a string or an integer', jsonb_typeof(id))
        end, 0
    from identified
    where not whole or known_id is null or text_type not in ('null', 'string');
    -- A rejected document keeps nothing but its id.
    update textmill.document d set text = null, metadata = null
        from textmill.failure f
        where d.job_id = made and f.job_id = made and f.seq = d.seq;
    perform textmill.finish_load(made);
    return made;
end
$$;

-- True; an error if two columns of this row have the same name, since metadata would keep the last only.
create function textmill.has_unique_columns(head json) returns boolean
    language plpgsql immutable
    set search_path = pg_catalog, pg_temp
as $$
declare
    twice text;
begin
    select key into twice from json_object_keys(head) as key group by key having count(*) > 1;
    if found then
        raise exception 'the query has several columns named "%"', twice
            using errcode = 'duplicate_column', hint = 'Give each column a name of its own.';
    end if;
    return true;
end
$$;

-- Submit the rows of a query with columns id and text; further columns are kept as metadata. Runs with the
-- caller's rights and search path, so that the query means here what it means to the caller.
create function textmill.submit_query(task text, query text, options jsonb default '{}')
    returns uuid
    language plpgsql
as $$
declare
    rows constant text := pg_catalog.format(
        'select seq, textmill.known_id(id, seq) as id, text, nullif(metadata, ''{}'') as metadata'
        ' from (select row_number() over () as seq, textmill.id_of(q.id) as id,'
        ' q.text::text as text,'
        -- q.* and not q, which a column of this name would shadow.
        ' to_jsonb(q.*) - ''id'' - ''text'' as metadata,'
        ' case when row_number() over () = 1 then to_json(q.*) end as head from (%s%s) as q) as given'
        ' where head is null or textmill.has_unique_columns(head)',
        pg_catalog.rtrim(query, E' \t\r\n;'), E'\n');
    -- Hash of the rows, for the idempotency key: without one, nobody asks whether rows are the same. Their
    -- order does not count, since without ORDER BY it may differ from one call to the next.
    summary constant text := 'select sha256(convert_to(concat_ws(''|'', $1, count(*), sum('
        'hashtextextended(concat_ws(E''\x1f'', coalesce(id, E''\x1e''),'
        ' coalesce(text, E''\x1e''), metadata), 0)::numeric)), ''UTF8'')) from (';
    key constant text := options ->> 'idempotency_key';
    hash bytea;
    made uuid;
begin
    if query is null then
        raise exception 'there is no query' using errcode = 'invalid_parameter_value',
            hint = 'For instance: select id, body as text from posts';
    end if;
    begin
        execute 'select from (' || rows || ') as q limit 0';
    exception when undefined_column or undefined_table or undefined_function
            or ambiguous_column or syntax_error or undefined_parameter then
        raise exception 'the query cannot be submitted: %', sqlerrm
            using errcode = sqlstate,
            hint = 'It must be one SELECT with the columns id and text.';
    end;
    made := textmill.start_job(task, options, '');
    if made is null then
        execute summary || rows || ') as r' into hash using task;
        return textmill.same_job(key, hash);
    end if;
    execute 'insert into textmill.document (job_id, seq, external_id, text, metadata)'
        ' select $1, seq, id, text, metadata from (' || rows || ') as r' using made;
    if key is not null then
        execute summary || 'select seq, external_id as id, text, metadata from textmill.document'
            ' where job_id = $2) as r' into hash using task, made;
        update textmill.job set content_hash = hash where job_id = made;
    end if;
    perform textmill.finish_load(made);
    return made;
end
$$;
