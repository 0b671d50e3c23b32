-- Lock the chunk of a document, so that nobody claims or stores it before this transaction ends. A running
-- attempt at it is released: it does not count.
create function textmill.end_reader(of_job uuid, of_seq bigint) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    held textmill.chunk;
begin
    loop
        select * into held from textmill.chunk
            where job_id = of_job and of_seq between first_seq and last_seq and state <> 'split'
            for update;
        -- A chunk that was halved while this waited for it has left the document to one of its halves.
        exit when found or not exists (
            select from textmill.chunk
            where job_id = of_job and of_seq between first_seq and last_seq and state <> 'split');
    end loop;
    if held.state = 'running' then
        perform textmill.end_attempt(of_job, held.chunk_no, held.attempt, 'released');
        perform pg_notify('textmill_pending', '');
    end if;
end
$$;

-- Erase what a document said, for privacy; returns how many documents with this id had a text. Removed
-- are its text and metadata, the keywords of its result, and every verdict with its copy of the text,
-- even if the document's month was dropped before. Its id, labels and scores stay, and so do all
-- counters. A document without an outcome fails with `erased` once its chunk runs.
--
-- If the documents of the job were dropped but its results were not, only a verdict tells which result
-- belongs to the id: without one, the call is refused as long as a result holds keywords.
--
-- While it waits for an open verdict on the document, it keeps the chunk from workers; lock_timeout
-- bounds that wait.
create function textmill.erase_document(job uuid, external_id text) returns bigint
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    set lock_timeout = '5s'
as $$
declare
    named bigint[];
    texts bigint[];
begin
    perform textmill.needs_read_committed();
    perform textmill.limit_idling();
    perform textmill.job_state(erase_document.job);
    select array_agg(d.seq), array_agg(d.seq) filter (where d.text is not null) into named, texts
        from textmill.document d
        where d.job_id = erase_document.job and d.external_id = erase_document.external_id;
    if named is null then
        select array_agg(f.seq) into named from textmill.feedback f
            where f.job_id = erase_document.job and f.external_id = erase_document.external_id;
    end if;
    perform textmill.end_reader(erase_document.job, seq) from unnest(texts) as t (seq);
    update textmill.document d set text = null, metadata = null
        where d.job_id = erase_document.job and d.seq = any (named);
    update textmill.result r set payload = jsonb_set(r.payload, '{keywords}', '[]')
        where r.job_id = erase_document.job and r.seq = any (named) and r.payload ? 'keywords';
    delete from textmill.feedback f
        where f.job_id = erase_document.job and f.external_id = erase_document.external_id;
    if named is null and not exists (
            select from textmill.document d where d.job_id = erase_document.job)
        and exists (
            select from textmill.job j join textmill.result r using (job_id)
            where j.job_id = erase_document.job and j.task = 'keywords'
                and r.payload -> 'keywords' <> '[]') then
        raise exception 'the documents of job % are gone, but not its keywords, and nothing tells which'
                ' of them are those of "%"', erase_document.job, erase_document.external_id
            using errcode = 'no_data_found', hint = 'Drop the results of its month too.';
    end if;
    if named is null then
        raise exception 'there is no document "%" in job %', erase_document.external_id,
                erase_document.job
            using errcode = 'no_data_found',
            hint = 'Give the id that the document was submitted with.';
    end if;
    return coalesce(cardinality(texts), 0);
exception
    when lock_not_available then
        raise exception 'another session holds document "%" of job %, or its chunk',
                erase_document.external_id, erase_document.job
            using errcode = 'lock_not_available',
            hint = 'Nothing was erased: try again once its transaction has ended.';
end
$$;
