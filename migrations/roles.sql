-- The three group roles and their rights. Run at every upgrade; safe to run again.
do $$
declare
    role text;
begin
    foreach role in array array['textmill_producer', 'textmill_worker', 'textmill_reader'] loop
        if not exists (select from pg_roles where rolname = role) then
            begin
                execute format('create role %I nologin', role);
            exception when duplicate_object or unique_violation then
                null;  -- another database of this server made it at the same moment
            end;
        end if;
    end loop;
end
$$;

grant usage on schema textmill to textmill_producer, textmill_worker, textmill_reader;
revoke all on all tables in schema textmill from textmill_producer, textmill_worker, textmill_reader;
revoke execute on all functions in schema textmill from public;
grant execute on function textmill.new_job_id(), textmill.job_id_at(timestamptz)
    to textmill_producer, textmill_worker, textmill_reader;
grant execute on function textmill.count_outcomes(uuid, bigint, bigint)
    to textmill_producer, textmill_worker;
grant execute on function textmill.make_partitions(integer) to textmill_producer;
grant execute on function textmill.job_may_become(text, text), textmill.chunk_may_become(text, text),
    textmill.end_attempt(uuid, integer, integer, text, text, double precision)
    to textmill_producer, textmill_worker;
grant execute on function textmill.end_attempts(text, text) to textmill_worker;
grant execute on function textmill.job_state(uuid), textmill.cancel(uuid), textmill.pause(uuid),
    textmill.resume(uuid), textmill.retry(uuid), textmill.expire_jobs(),
    textmill.close_chunks(uuid, integer)
    to textmill_producer;

-- Submits, dispatches, reads everything; cannot write a result.
grant select on textmill.job, textmill.chunk, textmill.document, textmill.result,
    textmill.failure, textmill.worker, textmill.feedback, textmill.alembic_version
    to textmill_producer;
grant insert, update, delete on textmill.job, textmill.chunk to textmill_producer;
grant delete on textmill.worker to textmill_producer;
grant insert, delete on textmill.document, textmill.failure to textmill_producer;
grant update (text, metadata) on textmill.document to textmill_producer;
grant insert (job_id, external_id, verdict, labels, keywords, comment, annotator)
    on textmill.feedback to textmill_producer;

-- Claims chunks and writes outcomes; cannot submit, cannot change or delete a document or outcome.
grant select on textmill.job, textmill.chunk, textmill.document, textmill.result,
    textmill.failure, textmill.worker, textmill.alembic_version to textmill_worker;
grant update on textmill.chunk to textmill_worker;
grant update (state, succeeded, failed, cancelled, started_at, finished_at)
    on textmill.job to textmill_worker;
grant insert on textmill.result, textmill.failure to textmill_worker;
grant insert, update, delete on textmill.worker to textmill_worker;

-- Reads the views; texts stay out of sight.
grant select on textmill.job_status, textmill.job_failure_summary, textmill.document_status,
    textmill.sentiment_result, textmill.moderation_result, textmill.keyword_result
    to textmill_producer, textmill_worker, textmill_reader;

-- A reader's forgotten transaction must not hold back vacuum. A login role copies these settings
-- with ALTER ROLE … SET, since members do not inherit them.
alter role textmill_reader set statement_timeout = '60s';
alter role textmill_reader set idle_in_transaction_session_timeout = '60s';
