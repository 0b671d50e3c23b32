create view textmill.promoted_model as
select t.task, p.model_version, p.promotion_id, p.promoted_by, p.promoted_at
from (values ('sentiment'), ('keywords'), ('moderation')) as t (task)
left join lateral (
    select * from textmill.model_promotion p where p.task = t.task
    order by p.promotion_id desc limit 1
) as p on true;

comment on view textmill.promoted_model is 'One row per task: which model serves it.';
comment on column textmill.promoted_model.task is 'sentiment, keywords or moderation.';
comment on column textmill.promoted_model.model_version is
    'The promoted model; null: each worker''s default.';
comment on column textmill.promoted_model.promotion_id is
    'Number of the promotion; null before the first one.';
comment on column textmill.promoted_model.promoted_by is 'Who promoted it.';
comment on column textmill.promoted_model.promoted_at is 'When.';

create view textmill.promotion_history as
select p.promotion_id, p.task, p.model_version, p.rollback,
    lag(p.model_version) over (partition by p.task order by p.promotion_id) as instead_of,
    p.promoted_by, p.promoted_at
from textmill.model_promotion p;

comment on view textmill.promotion_history is
    'One row per promotion or rollback; the latest of a task is in force.';
comment on column textmill.promotion_history.promotion_id is 'Its number.';
comment on column textmill.promotion_history.task is 'sentiment, keywords or moderation.';
comment on column textmill.promotion_history.model_version is
    'What served from then on; null: each worker''s default.';
comment on column textmill.promotion_history.rollback is 'Whether it went back to an earlier one.';
comment on column textmill.promotion_history.instead_of is
    'What served until then; null: each worker''s default.';
comment on column textmill.promotion_history.promoted_by is 'Who said so.';
comment on column textmill.promotion_history.promoted_at is 'When.';

create view textmill.training_status as
select r.run_id, r.task, r.state, r.parent, r.candidate, r.better, r.promoted, r.reason, r.error,
    r.trained, r.held_out,
    (r.metrics -> 'feedback' ->> 'parent')::real as feedback_before,
    (r.metrics -> 'feedback' ->> 'candidate')::real as feedback_after,
    (r.metrics -> 'elsewhere' ->> 'difference')::real as elsewhere_change,
    r.metrics, r.options, r.data_hash, r.started_by, r.started_at, r.finished_at
from textmill.training_run r;

comment on view textmill.training_status is 'One row per training on feedback.';
comment on column textmill.training_status.run_id is 'Its number.';
comment on column textmill.training_status.task is 'sentiment, keywords or moderation.';
comment on column textmill.training_status.state is
    'running, or ended so without a word; finished; failed.';
comment on column textmill.training_status.parent is 'The model that it started from.';
comment on column textmill.training_status.candidate is 'The model that it made.';
comment on column textmill.training_status.better is
    'Whether that is better on held-out feedback and not worse elsewhere.';
comment on column textmill.training_status.promoted is 'Whether it was promoted.';
comment on column textmill.training_status.reason is 'Why, or why not.';
comment on column textmill.training_status.error is 'What went wrong.';
comment on column textmill.training_status.trained is 'Judged documents that it learned from.';
comment on column textmill.training_status.held_out is 'Judged documents that it was measured on.';
comment on column textmill.training_status.feedback_before is
    'F1 of the parent on held-out feedback.';
comment on column textmill.training_status.feedback_after is
    'F1 of the candidate on held-out feedback.';
comment on column textmill.training_status.elsewhere_change is
    'By how much the mean F1 of the fixed test sets changed.';
comment on column textmill.training_status.metrics is
    'Every comparison, with its 95 % interval.';
comment on column textmill.training_status.options is 'How it was trained.';
comment on column textmill.training_status.data_hash is 'Hash over all data that it learned from.';
comment on column textmill.training_status.started_by is 'Who started it.';
comment on column textmill.training_status.started_at is 'When.';
comment on column textmill.training_status.finished_at is 'When it ended.';

create view textmill.model_status as
select m.model_version, m.task,
    m.model_version is not distinct from p.model_version as promoted,
    (select count(*) from textmill.worker w where w.models ->> m.task = m.model_version
        and textmill.is_alive(w.heartbeat_at)) as workers,
    m.parent, m.run_id, r.feedback_before, r.feedback_after, r.elsewhere_change,
    m.added_by, m.added_at
from textmill.model_version m
join textmill.promoted_model p using (task)
left join textmill.training_status r using (run_id);

comment on view textmill.model_status is 'One row per model.';
comment on column textmill.model_status.model_version is 'The model: a hash of its content.';
comment on column textmill.model_status.task is 'sentiment, keywords or moderation.';
comment on column textmill.model_status.promoted is 'Whether workers are to serve it.';
comment on column textmill.model_status.workers is
    'How many processes do, less those that have been silent for 30 s.';
comment on column textmill.model_status.parent is 'The model that its training started from.';
comment on column textmill.model_status.run_id is 'Number of that training.';
comment on column textmill.model_status.feedback_before is
    'F1 of the parent on held-out feedback.';
comment on column textmill.model_status.feedback_after is 'F1 of this model on held-out feedback.';
comment on column textmill.model_status.elsewhere_change is
    'By how much the mean F1 of the fixed test sets changed from the parent''s.';
comment on column textmill.model_status.added_by is 'Who made it known.';
comment on column textmill.model_status.added_at is 'When.';
