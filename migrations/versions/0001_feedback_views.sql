create view textmill.moderation_flag as
select r.job_id, r.seq, d.external_id,
    array(select jsonb_array_elements_text(r.payload -> 'labels')) as labels, r.label, r.score,
    r.payload ->> 'language' as language, r.model_version, r.created_at,
    case when has_column_privilege('textmill.document', 'text', 'select') then d.text end as text
from textmill.result r
left join textmill.document d using (job_id, seq)
where (r.payload ->> 'flagged')::boolean
    and not exists (
        select from textmill.feedback f where f.job_id = r.job_id and f.seq = r.seq)
order by r.job_id desc, r.score desc, r.seq desc;

comment on view textmill.moderation_flag is
    'What a moderator reads first: flagged documents without feedback, newest job and highest score'
    ' first.';
comment on column textmill.moderation_flag.job_id is 'Id of the job.';
comment on column textmill.moderation_flag.seq is 'Position in the job, from 1.';
comment on column textmill.moderation_flag.external_id is 'The producer''s own id.';
comment on column textmill.moderation_flag.labels is
    'The labels that reached their threshold, highest score first.';
comment on column textmill.moderation_flag.label is 'The first of labels.';
comment on column textmill.moderation_flag.score is 'Score of that label, 0 to 1.';
comment on column textmill.moderation_flag.language is 'zh, en, mixed or other.';
comment on column textmill.moderation_flag.model_version is 'Which model made the result.';
comment on column textmill.moderation_flag.created_at is 'When the result was written.';
comment on column textmill.moderation_flag.text is
    'The text, for a role that may read textmill.document; null for any other.';

create view textmill.feedback_status as
select job_id, seq, external_id, task, model_version,
    count(*) filter (where not adjudicates) as annotators,
    count(*) filter (where not adjudicates and verdict = 'agree') as agree,
    count(*) filter (where not adjudicates and verdict = 'disagree') as disagree,
    case when bool_or(adjudicates) then 'adjudicated'
        when count(distinct answer) = 1 then 'agreed'
        else 'disputed' end as state,
    min(given) as given,
    case when bool_or(adjudicates) then min(answer) filter (where adjudicates)
        when count(distinct answer) = 1 then min(answer) end as gold,
    min(created_at) as first_at, max(created_at) as last_at
from textmill.feedback
group by job_id, seq, external_id, task, model_version;

comment on view textmill.feedback_status is 'One row per document that people judged.';
comment on column textmill.feedback_status.job_id is 'Id of the job.';
comment on column textmill.feedback_status.seq is 'Position in the job, from 1.';
comment on column textmill.feedback_status.external_id is 'The producer''s own id.';
comment on column textmill.feedback_status.task is 'sentiment, keywords or moderation.';
comment on column textmill.feedback_status.model_version is 'Which model made the result.';
comment on column textmill.feedback_status.annotators is 'How many people judged it.';
comment on column textmill.feedback_status.agree is 'How many of them agree with the result.';
comment on column textmill.feedback_status.disagree is 'How many of them disagree with it.';
comment on column textmill.feedback_status.state is
    'agreed: all give the same answer; disputed: they do not; adjudicated: someone decided.';
comment on column textmill.feedback_status.given is 'The labels or keywords of the result.';
comment on column textmill.feedback_status.gold is
    'The right labels or keywords: the adjudicated answer, or else the agreed one; null while disputed.';
comment on column textmill.feedback_status.first_at is 'When the first verdict was given.';
comment on column textmill.feedback_status.last_at is 'When the last verdict was given.';

-- What `textmill feedback export --gold` prints and `textmill-worker retrain` learns from. Its texts
-- and comments are for roles that may read textmill.feedback. DISTINCT ON the task as well, so that a
-- query for one task reads that task alone.
create view textmill.gold as
select distinct on (f.task, f.text) f.feedback_id, f.job_id, f.seq, f.external_id, f.task, f.text,
    f.answer, textmill.annotated_of(f.task, f.payload) as annotated, f.verdict, f.annotator,
    f.comment, f.model_version
from textmill.feedback f join textmill.feedback_status s using (task, job_id, seq)
where f.answer = s.gold
order by f.task, f.text, f.feedback_id desc;

comment on view textmill.gold is
    'One row per text whose answer is settled, adjudicated or agreed; if a text was judged in several'
    ' documents, the latest. For roles that may read textmill.feedback.';
comment on column textmill.gold.feedback_id is
    'Number of the latest verdict that gives this answer.';
comment on column textmill.gold.job_id is 'Id of the job.';
comment on column textmill.gold.seq is 'Position in the job, from 1.';
comment on column textmill.gold.external_id is 'The producer''s own id.';
comment on column textmill.gold.task is 'sentiment, keywords or moderation.';
comment on column textmill.gold.text is 'The text.';
comment on column textmill.gold.answer is 'The right labels or keywords, sorted.';
comment on column textmill.gold.annotated is
    'moderation: the labels that were judged, which are those that the result has scores for; else null.';
comment on column textmill.gold.verdict is 'agree or disagree.';
comment on column textmill.gold.annotator is 'Whose verdict it is.';
comment on column textmill.gold.comment is 'What the annotator added.';
comment on column textmill.gold.model_version is 'Which model made the result.';

create view textmill.model_quality as
with judged as (
    select task, model_version, given, gold, count(*) as documents
    from textmill.feedback_status
    where gold is not null
    group by task, model_version, given, gold
), word as (
    select task, model_version, word, documents,
        case when word is null then given = '{}' else word = any (given) end as was_given,
        case when word is null then gold = '{}' else word = any (gold) end as is_gold
    from judged cross join lateral (
        select unnest(given) union select unnest(gold)
        union select null where task = 'moderation' and (given = '{}' or gold = '{}')
    ) as words (word)
)
select task, model_version,
    case task when 'keywords' then null else coalesce(word, 'clean') end as label,
    coalesce(sum(documents) filter (where was_given and is_gold), 0)::bigint as agreed,
    coalesce(sum(documents) filter (where not is_gold), 0)::bigint as wrong,
    coalesce(sum(documents) filter (where not was_given), 0)::bigint as missed,
    (coalesce(sum(documents) filter (where was_given and is_gold), 0)
        / nullif(sum(documents) filter (where was_given), 0))::real as precision,
    (coalesce(sum(documents) filter (where was_given and is_gold), 0)
        / nullif(sum(documents) filter (where is_gold), 0))::real as recall
from word
group by task, model_version, label;

comment on view textmill.model_quality is
    'Agreement of feedback with results. People look at what is flagged or doubtful, so these are not'
    ' the figures of a random sample.';
comment on column textmill.model_quality.task is 'sentiment, keywords or moderation.';
comment on column textmill.model_quality.model_version is 'Which model made the results.';
comment on column textmill.model_quality.label is
    'The label, or clean, which means no label; null: all keywords together.';
comment on column textmill.model_quality.agreed is
    'How often the model gave it and people say that it is right.';
comment on column textmill.model_quality.wrong is 'How often only the model gave it.';
comment on column textmill.model_quality.missed is 'How often only people gave it.';
comment on column textmill.model_quality.precision is
    'Share of what the model gave that is right, 0 to 1; null if it gave nothing.';
comment on column textmill.model_quality.recall is
    'Share of what is right that the model gave, 0 to 1; null if nothing is right.';

create view textmill.annotator_agreement as
with pair as (
    select a.task, a.annotator, b.annotator as other, a.answer, b.answer as other_answer,
        count(*) as documents
    from textmill.feedback a
    join textmill.feedback b on b.job_id = a.job_id and b.seq = a.seq and b.annotator > a.annotator
    where not a.adjudicates and not b.adjudicates
    group by a.task, a.annotator, b.annotator, a.answer, b.answer
), cell as (
    select task, '' as label, annotator, other, answer[1] as value, other_answer[1] as other_value,
        documents
    from pair where task = 'sentiment'
    union all
    select task, label, annotator, other, (label = any (answer))::text,
        (label = any (other_answer))::text, documents
    from pair cross join unnest(textmill.labels_of('moderation')) as label
    where task = 'moderation'
), total as (
    select task, label, annotator, other, sum(documents) as documents,
        sum(documents) filter (where value = other_value) as same
    from cell group by task, label, annotator, other
), chance as (
    select task, label, annotator, other, sum(mine.documents * theirs.documents) as product
    from (
        select task, label, annotator, other, value, sum(documents) as documents
        from cell group by task, label, annotator, other, value
    ) as mine
    join (
        select task, label, annotator, other, other_value as value, sum(documents) as documents
        from cell group by task, label, annotator, other, other_value
    ) as theirs using (task, label, annotator, other, value)
    group by task, label, annotator, other
), share as (
    select task, label, annotator, other, documents, coalesce(same, 0) / documents as observed,
        coalesce(product, 0) / documents ^ 2 as by_chance
    from total left join chance using (task, label, annotator, other)
)
select task, nullif(label, '') as label, annotator, other, documents::bigint as documents,
    observed::real as agreement,
    ((observed - by_chance) / nullif(1 - by_chance, 0))::real as kappa
from share;

comment on view textmill.annotator_agreement is
    'How far two annotators agree on the documents that both judged: Cohen''s kappa. Keywords are left'
    ' out, since they have no closed set of answers, and so are adjudications.';
comment on column textmill.annotator_agreement.task is 'sentiment or moderation.';
comment on column textmill.annotator_agreement.label is
    'moderation: whether this label applies; sentiment: null, all three labels at once.';
comment on column textmill.annotator_agreement.annotator is 'One of the two annotators.';
comment on column textmill.annotator_agreement.other is 'The other, later in the alphabet.';
comment on column textmill.annotator_agreement.documents is 'How many documents both judged.';
comment on column textmill.annotator_agreement.agreement is
    'Share of these documents to which both gave the same answer, 0 to 1.';
comment on column textmill.annotator_agreement.kappa is
    '1: perfect; 0: no better than chance; null: both gave one and the same answer throughout.';
