-- The group roles and their rights. Run at every upgrade; safe to run again.
do $$
declare
    role text;
begin
    foreach role in array array['textmill_producer', 'textmill_worker', 'textmill_reader',
            'textmill_operator', 'textmill_annotator', 'textmill_trainer'] loop
        if not exists (select from pg_roles where rolname = role) then
            begin
                execute format('create role %I nologin', role);
            exception when duplicate_object or unique_violation then
                null;  -- an upgrade of another database of this server made it at the same moment
            end;
        end if;
    end loop;
end
$$;

grant usage on schema textmill
    to textmill_producer, textmill_worker, textmill_reader, textmill_operator, textmill_annotator,
        textmill_trainer;
revoke all on all tables in schema textmill
    from textmill_producer, textmill_worker, textmill_reader, textmill_operator, textmill_annotator,
        textmill_trainer;
revoke execute on all functions in schema textmill
    from textmill_producer, textmill_worker, textmill_reader, textmill_operator, textmill_annotator,
        textmill_trainer;
grant execute on function textmill.job_id_at(timestamptz), textmill.labels_of(text),
    textmill.is_alive(timestamptz)
    to textmill_producer, textmill_worker, textmill_reader, textmill_operator, textmill_annotator,
        textmill_trainer;
grant execute on function textmill.annotated_of(text, jsonb)
    to textmill_producer, textmill_annotator, textmill_trainer;
grant execute on function textmill.new_job_id(), textmill.make_partitions(integer),
    textmill.dispatch_turn(), textmill.job_may_become(text, text) to textmill_producer;
grant execute on function textmill.submit(text, jsonb, jsonb),
    textmill.submit_query(text, text, jsonb), textmill.start_job(text, jsonb, bytea),
    textmill.same_job(text, bytea), textmill.reject_documents(uuid),
    textmill.reject_duplicates(uuid), textmill.cut_chunks(uuid, bigint), textmill.finish_load(uuid),
    textmill.open_job(uuid, bigint, bigint), textmill.limit_of(text),
    textmill.check_size(bigint), textmill.check_pending(), textmill.pending_documents(text),
    textmill.blanks(), textmill.known_id(jsonb, bigint),
    textmill.id_of(anyelement), textmill.json_depth(jsonb),
    textmill.has_unique_columns(json), textmill.check_model(text, text)
    to textmill_producer;
grant execute on function
    textmill.add_feedback(uuid, text, text, text[], text[], text, text, boolean),
    textmill.withdraw_feedback(bigint, text), textmill.withdrawable(textmill.feedback)
    to textmill_producer, textmill_annotator;
grant execute on function textmill.chunk_may_become(text, text)
    to textmill_producer, textmill_worker;
grant execute on function textmill.end_attempts(text, text),
    textmill.end_attempt(uuid, integer, integer, text, text, double precision),
    textmill.begin_job(uuid), textmill.await_job(uuid),
    textmill.count_outcomes(uuid, bigint, bigint),
    textmill.chunk_work(uuid, bigint, bigint) to textmill_worker;
grant execute on function textmill.job_state(uuid), textmill.limit_idling(integer),
    textmill.cancel(uuid), textmill.pause(uuid),
    textmill.resume(uuid), textmill.retry(uuid), textmill.expire_jobs(),
    textmill.close_chunks(uuid, integer), textmill.rescue_chunks()
    to textmill_producer;
grant execute on function textmill.erase_document(uuid, text) to textmill_operator;
grant execute on function textmill.promote_model(text, text, bigint),
    textmill.rollback_model(text) to textmill_operator, textmill_trainer;

-- The producer submits, dispatches and reads everything; it cannot write a result. A job starts empty and
-- `loading`: the producer that loads it sets the counts of what it holds, but none of a worker's outcomes.
-- Once the job is open, triggers keep it as it was handed over, and let nothing be added to it.
grant select on textmill.job, textmill.chunk, textmill.document, textmill.result,
    textmill.failure, textmill.worker, textmill.feedback, textmill.model_version,
    textmill.alembic_version to textmill_producer;
grant insert (task, lane, name, submitted_by, idempotency_key, content_hash, weight, deadline_at,
    options), delete on textmill.job to textmill_producer;
grant update (name, weight, deadline_at, idempotency_key, content_hash, state, accepted, rejected,
    failed, loaded_at) on textmill.job to textmill_producer;
grant insert (job_id, chunk_no, first_seq, last_seq, tokens), update (state, dispatched_at)
    on textmill.chunk to textmill_producer;
grant delete on textmill.worker to textmill_producer;
grant insert, delete on textmill.document, textmill.failure to textmill_producer;
grant update (text, metadata) on textmill.document to textmill_producer;
grant insert (job_id, external_id, verdict, labels, keywords, comment, annotator, adjudicates)
    on textmill.feedback to textmill_producer, textmill_annotator;

-- The worker claims chunks and writes outcomes; it cannot submit, cannot change or delete a document or
-- an outcome, and changes jobs only through functions.
grant select on textmill.job, textmill.chunk, textmill.document, textmill.result,
    textmill.failure, textmill.worker, textmill.alembic_version to textmill_worker;
grant update (state, attempt, taken_at, lease_expires_at, worker, suspect) on textmill.chunk
    to textmill_worker;
grant insert on textmill.result, textmill.failure to textmill_worker;
grant insert, update, delete on textmill.worker to textmill_worker;
grant insert (model_version, task) on textmill.model_version to textmill_worker;

-- The annotator reads texts and results, and judges them; it cannot submit or control a job.
grant select on textmill.document, textmill.result, textmill.feedback, textmill.alembic_version
    to textmill_annotator;

-- Dispatch, which is a producer, runs sweeps; only an operator defines them.
grant select on textmill.sweep, textmill.sweep_run to textmill_producer, textmill_operator;
grant update (watermark, next_run_at, schedule_error) on textmill.sweep to textmill_producer;
grant insert, update on textmill.sweep_run to textmill_producer;
grant insert (name, cron, timezone, source, query, watermark_column, watermark_kind, watermark,
    settle, deadline, paused, next_run_at), delete on textmill.sweep to textmill_operator;
grant update (cron, timezone, source, query, watermark_column, watermark_kind, watermark, settle,
    deadline, paused, next_run_at) on textmill.sweep to textmill_operator;

-- An operator also decides which model serves. A trainer reads feedback with its texts, trains models on
-- it, and promotes the better ones.
grant select on textmill.alembic_version to textmill_operator, textmill_trainer;
grant select on textmill.feedback, textmill.training_run to textmill_trainer;
grant insert (model_version, task, parent, run_id) on textmill.model_version to textmill_trainer;
grant insert (task, parent, options, data_hash, trained, held_out) on textmill.training_run
    to textmill_trainer;
grant update (state, candidate, metrics, better, promoted, reason, error, finished_at)
    on textmill.training_run to textmill_trainer;

-- The view `gold` holds texts, so only roles that may read feedback may read it.
grant select on textmill.gold to textmill_producer, textmill_annotator, textmill_trainer;

-- Every role reads the other views, which show a text only to roles that may read documents anyway.
-- They are listed, so that no view that somebody adds to the schema becomes readable by an upgrade.
grant select on textmill.job_status, textmill.job_failure_summary, textmill.document_status,
    textmill.sentiment_result, textmill.moderation_result, textmill.keyword_result,
    textmill.moderation_flag, textmill.feedback_status, textmill.model_quality,
    textmill.annotator_agreement, textmill.promoted_model, textmill.promotion_history,
    textmill.training_status, textmill.model_status, textmill.queue_status,
    textmill.worker_status, textmill.sweep_status, textmill.sweep_history
    to textmill_producer, textmill_worker, textmill_reader, textmill_operator, textmill_annotator,
        textmill_trainer;

-- A person's forgotten transaction must not hold back vacuum, and a worker that froze while it stored
-- outcomes must not keep its job locked. Members do not inherit these settings: each login role needs
-- them, too, by ALTER ROLE … SET.
alter role textmill_worker set idle_in_transaction_session_timeout = '60s';
alter role textmill_reader set statement_timeout = '60s';
alter role textmill_reader set idle_in_transaction_session_timeout = '60s';
alter role textmill_annotator set statement_timeout = '60s';
alter role textmill_annotator set idle_in_transaction_session_timeout = '60s';
