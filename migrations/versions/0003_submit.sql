-- Submitting with SQL alone, inside the caller's own transaction and with the caller's rights: the
-- rules of producer/intake.py, the chunks of producer/batches.py.

-- A limit: what the session or the database sets as textmill.<name>, or else the default.
create function textmill.limit_of(name text) returns bigint
    language sql stable
    set search_path = pg_catalog, pg_temp
as $$
    select coalesce(nullif(current_setting('textmill.' || name, true), '')::bigint,
        case name
            when 'max_document_bytes' then 1048576
            when 'max_metadata_bytes' then 16384
            when 'max_id_characters' then 500
            when 'chunk_documents' then 2048
            when 'chunk_tokens' then 65536
            when 'max_job_documents' then 20000000
        end)
$$;

-- Every character that counts as blank.
create function textmill.blanks() returns text
    language sql immutable
    set search_path = pg_catalog, pg_temp
as $$
    select E'\u0009\u000a\u000b\u000c\u000d\u001c\u001d\u001e\u001f\u0020\u0085\u00a0\u1680'
        || E'\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a'
        || E'\u2028\u2029\u202f\u205f\u3000'
$$;

-- The id of the document at position `seq`: its own, a string or a whole number, or the position; null
-- where it breaks a rule. A number with a fraction, as 3.0, may have been rounded beyond 2^53.
create function textmill.known_id(id jsonb, seq bigint) returns text
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    own text := id #>> '{}';
    number numeric;
begin
    if own is null then
        return seq;
    end if;
    if jsonb_typeof(id) = 'number' then
        number := id;
        if scale(number) > 0 and (number <> trunc(number) or abs(number) > 9007199254740992) then
            return null;
        end if;
        own := trunc(number);
    elsif jsonb_typeof(id) <> 'string' then
        return null;
    end if;
    if btrim(own, textmill.blanks()) = '' or own ~ '[\u0001-\u001f]'
            or char_length(own) > textmill.limit_of('max_id_characters') then
        return null;
    end if;
    return own;
end
$$;

-- What a column holds as id. As JSON a float loses its type, with which it may have been rounded
-- beyond 2^53, and what JSON has no form for becomes a string: NaN says that there is no id, and
-- infinity is none.
create function textmill.id_of(value anyelement) returns jsonb
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    type constant regtype := pg_typeof(value);
    written constant jsonb := to_jsonb(value);
begin
    if type not in ('real'::regtype, 'float8'::regtype, 'numeric'::regtype) then
        return written;
    end if;
    return case
        when written = '"NaN"' then null
        when jsonb_typeof(written) = 'string' then 'false'
        when type <> 'numeric'::regtype and abs(written::numeric) > 9007199254740992 then 'false'
        else written
    end;
end
$$;

-- Levels of objects and lists inside each other, counted no further than 66.
create function textmill.json_depth(value jsonb) returns integer
    language sql immutable
    set search_path = pg_catalog, pg_temp
as $$
    with recursive level (value, depth) as (
        select value, 1
        union all
        select inner_value, depth + 1
        from level, lateral (
            select v from jsonb_each(case jsonb_typeof(value) when 'object' then value end)
                as o (k, v)
            union all
            select v from jsonb_array_elements(case jsonb_typeof(value) when 'array' then value end)
                as a (v)
        ) as below (inner_value)
        where depth < 66 and jsonb_typeof(inner_value) in ('object', 'array')
    )
    select max(depth) from level
$$;

-- Make a loading job; null when the idempotency key is taken.
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
    -- Only times of four-digit years are times in Python.
    if deadline >= '10000-01-01' then
        raise exception 'the option "deadline_at" is "%"', options ->> 'deadline_at'
            using errcode = 'invalid_parameter_value',
            hint = 'It must be a time, for instance 2026-03-13 18:00+00.';
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
            deadline,
            jsonb_strip_nulls(jsonb_build_object(
                'explain', nullif((options ->> 'explain')::boolean, false),
                'generate', nullif((options ->> 'generate')::boolean, false),
                'model_version', options ->> 'model_version')))
        on conflict on constraint job_idempotency_key do nothing
        returning job_id into made;
    -- Only of a new job: who submits again may do so after its deadline.
    if made is not null and deadline < now() then
        raise exception 'the deadline % has passed', options ->> 'deadline_at'
            using errcode = 'invalid_parameter_value', hint = 'Name a later one, or none.';
    end if;
    return made;
end
$$;

-- The job that holds the idempotency key, if it was made of the same content.
create function textmill.same_job(key text, hash bytea) returns uuid
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    first record;
begin
    select job_id, content_hash into first from textmill.job
        where submitted_by = session_user and idempotency_key = key;
    if first.content_hash = hash then
        return first.job_id;
    end if;
    raise exception 'the idempotency key "%" was used before, by job %, for another task or other documents',
            key, first.job_id
        using errcode = 'unique_violation', hint = 'Choose another key for them.';
end
$$;

-- Fail every document whose id another document of the job had before it; how many there are.
create function textmill.refuse_duplicates(of_job uuid) returns bigint
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    refused bigint;
begin
    with ranked as (
        select seq, external_id,
            row_number() over (partition by external_id order by seq) as n,
            first_value(seq) over (partition by external_id order by seq) as first
        from textmill.document
        where job_id = of_job and text is not null
    ), duplicate as (
        insert into textmill.failure (job_id, seq, code, stage, message, attempt)
        select of_job, seq, 'duplicate_id', 'intake',
            format('id %s was given before, by document %s of this job;'
                ' ids are unique within a job', to_json(external_id), first), 0
        from ranked where n > 1
        returning seq
    )
    update textmill.document d set text = null, metadata = null
        from duplicate where d.job_id = of_job and d.seq = duplicate.seq;
    get diagnostics refused = row_count;
    return refused;
end
$$;

-- Fail the documents that break a rule of intake and have no failure yet.
create function textmill.refuse_documents(of_job uuid) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    max_text constant bigint := textmill.limit_of('max_document_bytes');
    max_metadata constant bigint := textmill.limit_of('max_metadata_bytes');
    max_id constant bigint := textmill.limit_of('max_id_characters');
    blanks constant text := textmill.blanks();
begin
    with examined as (
        select d.seq, case
            when d.external_id is null then 'invalid_id'
            when d.text is null then 'missing_text'
            when btrim(d.text, blanks) = '' then 'empty_text'
            when octet_length(d.text) > max_text then 'text_too_large'
            when octet_length(d.metadata::text) > max_metadata then 'metadata_too_large'
            -- Only so many brackets can nest too deep; the walk is slow.
            when octet_length(d.metadata::text)
                    - octet_length(translate(d.metadata::text, '[{', '')) > 64
                and textmill.json_depth(d.metadata) > 64 then 'invalid_metadata'
            -- Only so many digits can be too many. Python reads no integer of more than 4,300, and
            -- no fraction beyond a double.
            when octet_length(d.metadata::text) > 308 and jsonb_path_exists(d.metadata,
                'strict $.** ? (@.abs() >= 1e4300
                    || @.abs() >= 1.797693134862315808e308 && @ % 1 != 0)')
                then 'number_too_large'
        end as code, octet_length(d.text) as text_bytes, octet_length(d.metadata::text) as metadata_bytes
        from textmill.document d
        where d.job_id = of_job and not exists (
            select from textmill.failure f where f.job_id = of_job and f.seq = d.seq)
    ), refused as (
        insert into textmill.failure (job_id, seq, code, stage, message, attempt)
        select of_job, seq, replace(code, 'number_too_large', 'invalid_metadata'), 'intake', case code
            when 'invalid_id' then
                format('the id must be an integer, or a string of 1 to %s characters that is not'
                    ' blank and holds no control character', max_id)
            when 'missing_text' then 'there is no text'
            when 'empty_text' then 'the text is empty'
            when 'text_too_large' then
                format('the text has %s bytes, the limit is %s; split it, or raise'
                    ' textmill.max_document_bytes', text_bytes, max_text)
            when 'metadata_too_large' then
                format('the metadata has %s bytes as JSON, the limit is %s; hand over fewer fields,'
                    ' or raise textmill.max_metadata_bytes', metadata_bytes, max_metadata)
            when 'number_too_large' then
                'the metadata holds a number of too many digits; write it as a string'
            else 'the metadata is nested more than 64 levels deep'
        end, 0
        from examined where code is not null
        returning seq
    )
    update textmill.document d set text = null, metadata = null
        from refused where d.job_id = of_job and d.seq = refused.seq;

    perform textmill.refuse_duplicates(of_job);
end
$$;

-- Cut the documents of a job into chunks, bounded by documents and by estimated tokens.
create function textmill.cut_chunks(of_job uuid, accepted bigint) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    max_documents constant bigint := textmill.limit_of('chunk_documents');
    max_tokens constant bigint := textmill.limit_of('chunk_tokens');
    document record;
    chunk_no integer := 0;
    first bigint := 1;
    documents bigint := 0;
    tokens bigint := 0;
begin
    for document in
        -- A token is about four bytes of UTF-8.
        select d.seq, octet_length(d.text) / 4 + 1 as cost from textmill.document d
        where d.job_id = of_job and d.text is not null order by d.seq
    loop
        if documents = max_documents or (documents > 0 and tokens + document.cost > max_tokens) then
            insert into textmill.chunk (job_id, chunk_no, first_seq, last_seq, tokens)
                values (of_job, chunk_no, first, document.seq - 1, tokens);
            chunk_no := chunk_no + 1;
            first := document.seq;
            documents := 0;
            tokens := 0;
        end if;
        documents := documents + 1;
        tokens := tokens + document.cost;
    end loop;
    if documents > 0 then
        insert into textmill.chunk (job_id, chunk_no, first_seq, last_seq, tokens)
            values (of_job, chunk_no, first, accepted, tokens);
    end if;
end
$$;

-- Documents without outcome, of everybody and of one submitter. Who asks holds up others who ask until
-- its transaction ends, so that submits that race are counted one by one.
create function textmill.pending_documents(submitter text, out everybody bigint, out own bigint)
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    set lock_timeout = '30s'
as $$
begin
    perform textmill.needs_read_committed();
    perform from textmill.turn where name = 'pressure' for update;
    select coalesce(sum(documents), 0), coalesce(sum(documents) filter (where submitted_by = submitter), 0)
        into everybody, own
    from (
        select submitted_by, accepted - succeeded - failed - cancelled as documents
        from textmill.job where finished_at is null
    ) as open;
end
$$;

-- Refuse a job of too many documents.
create function textmill.check_size(documents bigint) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    most bigint := textmill.limit_of('max_job_documents');
begin
    if documents > most then
        raise exception 'the job has % documents and textmill.max_job_documents allows %', documents, most
            using errcode = 'program_limit_exceeded', hint = 'Split it, or raise the limit.';
    end if;
end
$$;

-- Refuse documents that are counted in the row of their job while too many wait. A limit that is null
-- holds nothing back.
create function textmill.check_pressure() returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    most_pending bigint := textmill.limit_of('max_pending');
    most_own bigint := textmill.limit_of('max_pending_per_submitter');
    pending record;
begin
    if most_pending is null and most_own is null then
        return;
    end if;
    select * into pending from textmill.pending_documents(session_user);
    if pending.everybody > most_pending or pending.own > most_own then
        raise exception '% documents would be pending, % of them yours, and % allows %', pending.everybody,
                pending.own,
                case when pending.everybody > most_pending then 'textmill.max_pending'
                    else 'textmill.max_pending_per_submitter' end,
                case when pending.everybody > most_pending then most_pending else most_own end
            using errcode = 'configuration_limit_exceeded',
            hint = 'Submit again when fewer wait, or raise the limit.';
    end if;
end
$$;

-- Refuse, cut and open a job whose documents are all there.
create function textmill.open_job(of_job uuid) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    total bigint;
    refused bigint;
begin
    select count(*) into total from textmill.document where job_id = of_job;
    perform textmill.check_size(total);
    perform textmill.refuse_documents(of_job);
    select count(*) into refused from textmill.failure where job_id = of_job;
    perform textmill.cut_chunks(of_job, total);
    update textmill.job set accepted = total, rejected = refused, failed = refused,
            state = case when total = refused then 'completed' else 'pending' end,
            finished_at = case when total = refused then now() end
        where job_id = of_job;
    -- Last, when the job counts: others who submit wait from here to the end of this transaction.
    perform textmill.check_pressure();
    perform pg_notify('textmill_pending', '');
end
$$;

-- Submit an array of objects with `text`, `id` and whatever else is kept as metadata.
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
    -- A refused document keeps nothing but its id.
    update textmill.document d set text = null, metadata = null
        from textmill.failure f
        where d.job_id = made and f.job_id = made and f.seq = d.seq;
    perform textmill.open_job(made);
    return made;
end
$$;

-- True; an error where two columns of this row have one name, of which metadata would keep the last.
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

-- Submit the rows of a query: columns id and text; further ones are kept as metadata. Runs with the
-- caller's rights and search path, so that the query means what it means to the caller.
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
    -- Whether two sets of rows are the same is only asked for the sake of an idempotency key.
    summary constant text := 'select sha256(convert_to(concat_ws(''|'', $1, count(*), sum('
        'hashtextextended(concat_ws(E''\x1f'', seq, coalesce(id, E''\x1e''),'
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
            or ambiguous_column or syntax_error then
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
    perform textmill.open_job(made);
    return made;
end
$$;
