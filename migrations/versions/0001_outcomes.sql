create table textmill.result (
    job_id uuid not null,
    seq bigint not null,
    label text,
    score real,
    payload jsonb not null,
    model_version text not null,
    attempt integer not null,
    created_at timestamptz not null default now(),
    constraint result_pkey primary key (job_id, seq),
    constraint result_score check (score between 0 and 1),
    constraint result_attempt check (attempt >= 1)
) partition by range (job_id);

-- Flagged results, a few in a hundred, which a moderator reads newest job and highest score first.
create index result_flagged on textmill.result (job_id, score, seq)
    where (payload ->> 'flagged')::boolean;

-- With this index the labels of a job are counted without reading its results.
create index result_label on textmill.result (job_id, label, score, seq);

create table textmill.failure (
    job_id uuid not null,
    seq bigint not null,
    code text not null,
    stage text not null,
    message text not null,
    attempt integer not null,
    created_at timestamptz not null default now(),
    constraint failure_pkey primary key (job_id, seq),
    constraint failure_stage check (stage in ('intake', 'preprocess', 'tokenize', 'predict',
        'postprocess', 'run')),
    constraint failure_attempt check ((stage = 'intake') = (attempt = 0)),
    constraint failure_code check (code in ('invalid_json', 'invalid_record', 'invalid_encoding',
        'invalid_character', 'invalid_id', 'invalid_metadata', 'missing_text', 'empty_text',
        'text_too_large', 'metadata_too_large', 'duplicate_id', 'damaged_file', 'no_content',
        'no_generator', 'stage_error', 'too_large_for_device', 'worker_crashed',
        'model_unavailable', 'erased'))
) partition by range (job_id);

create trigger failure_deleted after delete on textmill.failure
    referencing old table as before for each statement execute function textmill.check_rows_kept();
create trigger failure_added after insert on textmill.failure
    referencing new table as added for each statement execute function textmill.check_rows_added();

create function textmill.check_failure_alone() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if not pg_has_role((select relowner from pg_class where oid = tg_relid), 'member')
        and exists (
            -- Looked up by key, one by one, in one partition, so that the job's size does not matter.
            select from added cross join lateral (
                select from textmill.result r
                where r.job_id = added.job_id and r.seq = added.seq limit 1) as beside) then
        raise exception 'a document that has a result does not fail'
            using errcode = 'insufficient_privilege';
    end if;
    return null;
end
$$;

create trigger failure_alone after insert on textmill.failure
    referencing new table as added for each statement
    execute function textmill.check_failure_alone();

-- LATERAL, so that only the failures of the chosen jobs are read, whichever way jobs are chosen.
create view textmill.job_failure_summary as
select j.job_id, f.code, f.stage, f.documents, f.example
from textmill.job j
cross join lateral (
    select code, stage, count(*) as documents, min(message) as example
    from textmill.failure
    where job_id = j.job_id
    group by code, stage
) as f
where j.state <> 'loading';

comment on view textmill.job_failure_summary is 'Failures of each job, counted by code and stage.';
comment on column textmill.job_failure_summary.job_id is 'Id of the job.';
comment on column textmill.job_failure_summary.code is 'Why the documents failed.';
comment on column textmill.job_failure_summary.stage is
    'Where: intake, preprocess, tokenize, predict, postprocess or run.';
comment on column textmill.job_failure_summary.documents is 'How many documents.';
comment on column textmill.job_failure_summary.example is 'The message of one of them.';

create view textmill.document_status as
select d.job_id, d.seq, d.external_id,
    case
        when r.seq is not null then 'succeeded'
        when f.seq is not null then 'failed'
        when j.state in ('cancelled', 'expired') then 'cancelled'
        else 'pending'
    end as status,
    f.code, f.stage, f.message, d.line, coalesce(r.created_at, f.created_at) as finished_at
from textmill.document d
join textmill.job j using (job_id)
left join textmill.result r using (job_id, seq)
left join textmill.failure f using (job_id, seq)
where j.state <> 'loading';

comment on view textmill.document_status is
    'One row per document. Always give a job_id: it prunes partitions.';
comment on column textmill.document_status.job_id is 'Id of the job.';
comment on column textmill.document_status.seq is 'Position in the job, from 1.';
comment on column textmill.document_status.external_id is 'The producer''s own id.';
comment on column textmill.document_status.status is 'succeeded, failed, cancelled or pending.';
comment on column textmill.document_status.code is 'Why it failed.';
comment on column textmill.document_status.stage is 'Where it failed.';
comment on column textmill.document_status.message is 'What to know about the failure.';
comment on column textmill.document_status.line is 'Line of the input file that it came from.';
comment on column textmill.document_status.finished_at is 'When the outcome was written.';

-- LEFT JOIN, so that documents are read only if the query asks for external_id.
create view textmill.sentiment_result as
select r.job_id, r.seq, d.external_id, r.label, r.score,
    (r.payload -> 'scores' ->> 'negative')::real as negative,
    (r.payload -> 'scores' ->> 'neutral')::real as neutral,
    (r.payload -> 'scores' ->> 'positive')::real as positive,
    r.payload ->> 'language' as language, r.model_version, r.created_at
from textmill.result r
join textmill.job j using (job_id)
left join textmill.document d using (job_id, seq)
where j.task = 'sentiment';

comment on view textmill.sentiment_result is 'Results of sentiment jobs.';
comment on column textmill.sentiment_result.job_id is 'Id of the job.';
comment on column textmill.sentiment_result.seq is 'Position in the job, from 1.';
comment on column textmill.sentiment_result.external_id is 'The producer''s own id.';
comment on column textmill.sentiment_result.label is 'negative, neutral or positive.';
comment on column textmill.sentiment_result.score is 'Score of that label, 0 to 1.';
comment on column textmill.sentiment_result.negative is 'Score of negative; the three sum to 1.';
comment on column textmill.sentiment_result.neutral is 'Score of neutral.';
comment on column textmill.sentiment_result.positive is 'Score of positive.';
comment on column textmill.sentiment_result.language is 'zh, en, mixed or other.';
comment on column textmill.sentiment_result.model_version is 'Which model made the result.';
comment on column textmill.sentiment_result.created_at is 'When the result was written.';

create view textmill.moderation_result as
select r.job_id, r.seq, d.external_id, (r.payload ->> 'flagged')::boolean as flagged,
    array(select jsonb_array_elements_text(r.payload -> 'labels')) as labels,
    r.label, r.score, r.payload -> 'scores' as scores,
    r.payload ->> 'language' as language, r.model_version, r.created_at
from textmill.result r
join textmill.job j using (job_id)
left join textmill.document d using (job_id, seq)
where j.task = 'moderation';

comment on view textmill.moderation_result is 'Results of moderation jobs.';
comment on column textmill.moderation_result.job_id is 'Id of the job.';
comment on column textmill.moderation_result.seq is 'Position in the job, from 1.';
comment on column textmill.moderation_result.external_id is 'The producer''s own id.';
comment on column textmill.moderation_result.flagged is 'Whether any label reached its threshold.';
comment on column textmill.moderation_result.labels is
    'The labels that reached their threshold, highest score first.';
comment on column textmill.moderation_result.label is
    'The first of labels; if there are none, the label with the highest score.';
comment on column textmill.moderation_result.score is 'Score of that label, 0 to 1.';
comment on column textmill.moderation_result.scores is 'Score of every label.';
comment on column textmill.moderation_result.language is 'zh, en, mixed or other.';
comment on column textmill.moderation_result.model_version is 'Which model made the result.';
comment on column textmill.moderation_result.created_at is 'When the result was written.';

create view textmill.keyword_result as
select r.job_id, r.seq, d.external_id, k.rank::integer as rank, k.keyword ->> 'text' as keyword,
    (k.keyword ->> 'score')::real as score, k.keyword -> 'spans' as spans,
    r.payload ->> 'language' as language, r.model_version, r.created_at,
    coalesce((k.keyword ->> 'generated')::boolean, false) as generated
from textmill.result r
join textmill.job j using (job_id)
left join textmill.document d using (job_id, seq)
cross join lateral jsonb_array_elements(r.payload -> 'keywords')
    with ordinality as k (keyword, rank)
where j.task = 'keywords';

comment on view textmill.keyword_result is 'Results of keywords jobs, one row per keyword.';
comment on column textmill.keyword_result.job_id is 'Id of the job.';
comment on column textmill.keyword_result.seq is 'Position in the job, from 1.';
comment on column textmill.keyword_result.external_id is 'The producer''s own id.';
comment on column textmill.keyword_result.rank is 'Place of the keyword in the document, from 1.';
comment on column textmill.keyword_result.keyword is
    'The keyword as it first occurs in the text; in lower case if it does not occur there.';
comment on column textmill.keyword_result.score is 'How sure the model is, 0 to 1.';
comment on column textmill.keyword_result.spans is
    'Places in the original text: [start, end) in code points; null if it does not occur there.';
comment on column textmill.keyword_result.language is 'zh, en, mixed or other.';
comment on column textmill.keyword_result.model_version is 'Which model made the result.';
comment on column textmill.keyword_result.created_at is 'When the result was written.';
comment on column textmill.keyword_result.generated is
    'Whether the model generated the keyword instead of finding it.';
