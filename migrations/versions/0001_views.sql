create view textmill.job_status as
select job_id, task, name, lane, state, accepted, succeeded, failed, cancelled,
    accepted - succeeded - failed - cancelled as pending,
    rejected,
    case accepted when 0 then 100.0
        else round(100.0 * (succeeded + failed) / accepted, 1) end as percent,
    submitted_by, created_at, started_at, finished_at,
    rate::real as documents_per_second,
    -- Beyond a year it says nothing, and far beyond it is no time that Postgres knows.
    case when state = 'running'
            and accepted - succeeded - failed - cancelled < rate * 365 * 24 * 60 * 60
        then now() + make_interval(secs => (accepted - succeeded - failed - cancelled) / rate)
        end as eta,
    coalesce(finished_at, now()) - created_at as age,
    deadline_at
from textmill.job
cross join lateral (
    select (succeeded + failed - rejected)
        / nullif(extract(epoch from coalesce(finished_at, now()) - started_at)::double precision, 0)
        as rate
) as speed
where state <> 'loading';

comment on view textmill.job_status is
    'One row per job. accepted = succeeded + failed + cancelled + pending, at every instant.';
comment on column textmill.job_status.job_id is 'Id of the job; ids order by time of creation.';
comment on column textmill.job_status.task is 'sentiment, keywords or moderation.';
comment on column textmill.job_status.name is 'Name that the submitter gave.';
comment on column textmill.job_status.lane is 'interactive or bulk.';
comment on column textmill.job_status.state is
    'pending, running, paused, cancelling, completed, cancelled or expired.';
comment on column textmill.job_status.accepted is
    'Documents handed over, including those refused at intake.';
comment on column textmill.job_status.succeeded is 'Documents with a result.';
comment on column textmill.job_status.failed is 'Documents with a failure; see job_failure_summary.';
comment on column textmill.job_status.cancelled is
    'Documents without outcome when the job was cancelled or expired.';
comment on column textmill.job_status.pending is 'Documents without outcome so far.';
comment on column textmill.job_status.rejected is 'Failed documents that were refused at intake.';
comment on column textmill.job_status.percent is
    'Share of the documents that succeeded or failed, which cancelled ones did not; 100 of an empty job.';
comment on column textmill.job_status.submitted_by is 'Who submitted the job.';
comment on column textmill.job_status.created_at is 'When loading began.';
comment on column textmill.job_status.started_at is 'When the first chunk was claimed.';
comment on column textmill.job_status.finished_at is 'When the last outcome was written.';
comment on column textmill.job_status.documents_per_second is
    'Outcomes a second since the first claim; pauses count.';
comment on column textmill.job_status.eta is
    'When a running job will be done if it goes on like that; null beyond a year.';
comment on column textmill.job_status.age is
    'Time since it was handed over, or until its last outcome.';
comment on column textmill.job_status.deadline_at is 'When it is given up.';

-- LATERAL: whichever way the jobs are chosen, only their failures are read.
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
comment on column textmill.document_status.line is 'Line of the input file where it stood.';
comment on column textmill.document_status.finished_at is 'When the outcome was written.';

-- LEFT: where no query asks for external_id, the documents are not read.
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
comment on column textmill.sentiment_result.model_version is 'Which model said so.';
comment on column textmill.sentiment_result.created_at is 'When.';

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
comment on column textmill.moderation_result.labels is 'The labels that did, highest score first.';
comment on column textmill.moderation_result.label is
    'The first of them, or else the label with the highest score.';
comment on column textmill.moderation_result.score is 'Score of that label, 0 to 1.';
comment on column textmill.moderation_result.scores is 'Score of every label.';
comment on column textmill.moderation_result.language is 'zh, en, mixed or other.';
comment on column textmill.moderation_result.model_version is 'Which model said so.';
comment on column textmill.moderation_result.created_at is 'When.';

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
    'The keyword as it first stands in the text; in lower case where it does not.';
comment on column textmill.keyword_result.score is 'How sure the model is, 0 to 1.';
comment on column textmill.keyword_result.spans is
    'Places in the original text: [start, end) in code points; null where it does not stand there.';
comment on column textmill.keyword_result.language is 'zh, en, mixed or other.';
comment on column textmill.keyword_result.model_version is 'Which model said so.';
comment on column textmill.keyword_result.created_at is 'When.';
comment on column textmill.keyword_result.generated is
    'Whether the model made it instead of finding it.';
