-- For documents that are submitted with SQL alone: the rules of producer/intake.py, and the chunks of
-- producer/batches.py.

-- Every character that counts as blank.
create function textmill.blanks() returns text
    language sql immutable
    set search_path = pg_catalog, pg_temp
as $$
    select E'\u0009\u000a\u000b\u000c\u000d\u001c\u001d\u001e\u001f\u0020\u0085\u00a0\u1680'
        || E'\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a'
        || E'\u2028\u2029\u202f\u205f\u3000'
$$;

-- The id of the document at position `seq`: its own, a string or a whole number, or else the position;
-- null if its own breaks a rule. A number written with a fraction, like 3.0, may have been rounded if it
-- is beyond 2^53.
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
    if btrim(own, textmill.blanks()) = '' or own ~ '[\u0001-\u001f\u007f-\u009f]'
            or char_length(own) > textmill.limit_of('max_id_characters') then
        return null;
    end if;
    return own;
end
$$;

-- A column's value as an id. JSON drops the type that tells of a float, which beyond 2^53 may have been
-- rounded, and turns NaN and infinity into strings. NaN means that there is no id (null); a float beyond
-- 2^53 and infinity become `false`, which is no valid id.
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

-- How many levels of objects and lists are nested in each other, counted no further than 66.
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

-- Fail every document whose id an earlier document of the job has; returns how many there are.
create function textmill.reject_duplicates(of_job uuid) returns bigint
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    rejected bigint;
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
            format('id %s is already that of document %s; ids are unique within a job,'
                ' and a document without one gets its number', to_json(external_id), first), 0
        from ranked where n > 1
        returning seq
    )
    update textmill.document d set text = null, metadata = null
        from duplicate where d.job_id = of_job and d.seq = duplicate.seq;
    get diagnostics rejected = row_count;
    return rejected;
end
$$;

-- Fail the documents that break a rule of intake and have no failure yet.
create function textmill.reject_documents(of_job uuid) returns void
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
            -- The walk is slow, so it is spared if there are too few brackets to nest too deep.
            when octet_length(d.metadata::text)
                    - octet_length(translate(d.metadata::text, '[{', '')) > 64
                and textmill.json_depth(d.metadata) > 64 then 'invalid_metadata'
            -- Likewise, short metadata cannot hold too many digits. Python reads no integer of more than
            -- 4,300 digits, and no fraction beyond a double.
            when octet_length(d.metadata::text) > 308 and jsonb_path_exists(d.metadata,
                'strict $.** ? (@.abs() >= 1e4300
                    || @.abs() >= 1.797693134862315808e308 && @ % 1 != 0)')
                then 'number_too_large'
        end as code, octet_length(d.text) as text_bytes, octet_length(d.metadata::text) as metadata_bytes
        from textmill.document d
        where d.job_id = of_job and not exists (
            select from textmill.failure f where f.job_id = of_job and f.seq = d.seq)
    ), rejected as (
        insert into textmill.failure (job_id, seq, code, stage, message, attempt)
        select of_job, seq, replace(code, 'number_too_large', 'invalid_metadata'), 'intake', case code
            when 'invalid_id' then
                format('the id must be an integer, or a string of 1 to %s characters that is not'
                    ' blank and holds no control character', max_id)
            when 'missing_text' then 'the field ''text'' is missing or null'
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
        from rejected where d.job_id = of_job and d.seq = rejected.seq;

    perform textmill.reject_duplicates(of_job);
end
$$;

-- Cut the documents of a job into chunks, bounded by documents and by estimated tokens. Rejected documents
-- do not count in these bounds, but every attempt reads past those in its range, so the length of a range
-- is bounded as well, as it is by a producer's batches. Documents between two ranges are rejected ones.
create function textmill.cut_chunks(of_job uuid, accepted bigint) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    max_documents constant bigint := textmill.limit_of('chunk_documents');
    max_tokens constant bigint := textmill.limit_of('chunk_tokens');
    max_range constant bigint := 10000;
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
        if documents = max_documents or (documents > 0 and (
                tokens + document.cost > max_tokens or document.seq >= first + max_range)) then
            insert into textmill.chunk (job_id, chunk_no, first_seq, last_seq, tokens)
                values (of_job, chunk_no, first, least(document.seq - 1, first + max_range - 1),
                    tokens);
            chunk_no := chunk_no + 1;
            first := document.seq;
            documents := 0;
            tokens := 0;
        elsif documents = 0 and document.seq >= first + max_range then
            first := document.seq;
        end if;
        documents := documents + 1;
        tokens := tokens + document.cost;
    end loop;
    if documents > 0 then
        insert into textmill.chunk (job_id, chunk_no, first_seq, last_seq, tokens)
            values (of_job, chunk_no, first, least(accepted, first + max_range - 1), tokens);
    end if;
end
$$;
