-- The value of a limit: what the session or the database sets as textmill.<name>, or else the default.
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

-- The number of documents without an outcome, of everybody and of one submitter. Other callers wait until
-- the transaction of this one ends, so that racing submits are counted one by one.
create function textmill.pending_documents(submitter text, out everybody bigint, out own bigint)
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    set lock_timeout = '30s'
as $$
begin
    perform textmill.needs_read_committed();
    perform textmill.limit_idling();
    perform from textmill.turn where name = 'pending' for update;
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

-- Refuse a submit if too many documents are pending, including its own, which the row of its job counts
-- already. A limit that is null is no limit.
create function textmill.check_pending() returns void
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
