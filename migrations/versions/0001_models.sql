-- Which models there are, which of them serve, and the trainings that made them. Rows are added and
-- never changed, except when a training ends.
create table textmill.training_run (
    run_id bigint generated always as identity,
    task text not null,
    parent text not null,
    state text not null default 'running',
    options jsonb not null,
    data_hash text not null,
    trained integer not null,
    held_out integer not null,
    candidate text,
    metrics jsonb,
    better boolean,
    promoted boolean,
    reason text,
    error text,
    started_by text not null default session_user,
    started_at timestamptz not null default now(),
    finished_at timestamptz,
    constraint training_run_pkey primary key (run_id),
    constraint training_run_task check (task in ('sentiment', 'keywords', 'moderation')),
    constraint training_run_state check (state in ('running', 'finished', 'failed')),
    constraint training_run_counts check (trained >= 0 and held_out >= 0),
    constraint training_run_finished check ((state = 'running') = (finished_at is null)),
    constraint training_run_decided check ((state = 'finished') = (num_nonnulls(candidate, metrics,
        better, promoted, reason) = 5)),
    constraint training_run_failed check ((state = 'failed') = (error is not null))
);

create table textmill.model_version (
    model_version text not null,
    task text not null,
    parent text,
    run_id bigint,
    added_by text not null default session_user,
    added_at timestamptz not null default now(),
    constraint model_version_pkey primary key (model_version),
    constraint model_version_of_task unique (task, model_version),
    constraint model_version_run foreign key (run_id) references textmill.training_run (run_id),
    constraint model_version_task check (task in ('sentiment', 'keywords', 'moderation')),
    constraint model_version_hash check (model_version ~ '^[0-9a-f]{16}$')
);

-- The latest row of a task says which version serves; if that is null, each worker's default does.
-- `previous` is the row that a rollback goes back to. Only functions with the owner's rights add rows,
-- so that `promoted_by` is the login that did it.
create table textmill.model_promotion (
    promotion_id bigint generated always as identity,
    task text not null,
    model_version text,
    previous bigint,
    rollback boolean not null default false,
    promoted_by text not null default session_user,
    promoted_at timestamptz not null default now(),
    constraint model_promotion_pkey primary key (promotion_id),
    constraint model_promotion_task check (task in ('sentiment', 'keywords', 'moderation')),
    constraint model_promotion_version foreign key (task, model_version)
        references textmill.model_version (task, model_version),
    constraint model_promotion_previous foreign key (previous)
        references textmill.model_promotion (promotion_id)
);
create index model_promotion_latest on textmill.model_promotion (task, promotion_id);

-- Refuse a version that is not known for the task.
create function textmill.check_model(of_task text, version text) returns void
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
begin
    if not exists (select from textmill.model_version m
            where m.task = of_task and m.model_version = version) then
        raise exception 'there is no model "%" for %', version, of_task
            using errcode = 'invalid_parameter_value',
            hint = 'textmill.model_status lists them; a folder becomes one with:'
                ' textmill-worker models add FOLDER';
    end if;
end
$$;

-- The latest promotion of a task, all null if there is none. Nobody else can promote until the end of
-- this transaction.
create function textmill.latest_promotion(of_task text) returns textmill.model_promotion
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    latest textmill.model_promotion;
begin
    perform textmill.needs_read_committed();
    perform textmill.limit_idling();
    perform from textmill.turn where name = 'promotion' for update;
    select * into latest from textmill.model_promotion p
        where p.task = of_task order by p.promotion_id desc limit 1;
    return latest;
end
$$;

-- Promote a version for a task, or, with null, each worker's default. Running workers follow. Returns
-- the number of the promotion, which is the latest one if that promoted this version; null, with nothing
-- done, if another was promoted since `instead_of`, the number of a promotion (0: before the first one).
create function textmill.promote_model(task text, model_version text,
    instead_of bigint default null) returns bigint
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    latest textmill.model_promotion := textmill.latest_promotion(promote_model.task);
    made bigint;
begin
    if promote_model.model_version is not null then
        perform textmill.check_model(promote_model.task, promote_model.model_version);
    end if;
    if latest.promotion_id is not null
            and latest.model_version is not distinct from promote_model.model_version then
        return latest.promotion_id;
    end if;
    if instead_of <> coalesce(latest.promotion_id, 0) then
        return null;
    end if;
    insert into textmill.model_promotion (task, model_version, previous)
        values (promote_model.task, promote_model.model_version, latest.promotion_id)
        returning promotion_id into made;
    return made;
end
$$;

-- Go back to the version that was promoted before the present one. Returns that version; null is each
-- worker's default. Each further call goes back further.
create function textmill.rollback_model(task text) returns text
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    latest textmill.model_promotion := textmill.latest_promotion(rollback_model.task);
    target textmill.model_promotion;
begin
    if latest.previous is null and latest.model_version is null then
        raise exception 'no model of % was promoted before', rollback_model.task
            using errcode = 'invalid_parameter_value',
            hint = 'textmill.promotion_history lists what was.';
    end if;
    select * into target from textmill.model_promotion p where p.promotion_id = latest.previous;
    insert into textmill.model_promotion (task, model_version, previous, rollback)
        values (rollback_model.task, target.model_version, target.previous, true);
    return target.model_version;
end
$$;

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
comment on column textmill.promoted_model.promoted_at is 'When it was promoted.';

create view textmill.promotion_history as
select p.promotion_id, p.task, p.model_version, p.rollback,
    lag(p.model_version) over (partition by p.task order by p.promotion_id) as instead_of,
    p.promoted_by, p.promoted_at
from textmill.model_promotion p;

comment on view textmill.promotion_history is
    'One row per promotion or rollback; the latest of a task is in force.';
comment on column textmill.promotion_history.promotion_id is 'Number of the promotion.';
comment on column textmill.promotion_history.task is 'sentiment, keywords or moderation.';
comment on column textmill.promotion_history.model_version is
    'What served from then on; null: each worker''s default.';
comment on column textmill.promotion_history.rollback is
    'Whether it was a rollback to an earlier promotion.';
comment on column textmill.promotion_history.instead_of is
    'What served until then; null: each worker''s default.';
comment on column textmill.promotion_history.promoted_by is 'Who promoted or rolled back.';
comment on column textmill.promotion_history.promoted_at is 'When that was.';

create view textmill.training_status as
select r.run_id, r.task, r.state, r.parent, r.candidate, r.better, r.promoted, r.reason, r.error,
    r.trained, r.held_out,
    (r.metrics -> 'feedback' ->> 'parent')::real as feedback_before,
    (r.metrics -> 'feedback' ->> 'candidate')::real as feedback_after,
    (r.metrics -> 'elsewhere' ->> 'difference')::real as elsewhere_change,
    r.metrics, r.options, r.data_hash, r.started_by, r.started_at, r.finished_at
from textmill.training_run r;

comment on view textmill.training_status is 'One row per training on feedback.';
comment on column textmill.training_status.run_id is 'Number of the training.';
comment on column textmill.training_status.task is 'sentiment, keywords or moderation.';
comment on column textmill.training_status.state is
    'running, also if the training died without saying so; finished; failed.';
comment on column textmill.training_status.parent is 'The model that it started from.';
comment on column textmill.training_status.candidate is 'The model that it made.';
comment on column textmill.training_status.better is
    'Whether the candidate is better on held-out feedback and not worse elsewhere.';
comment on column textmill.training_status.promoted is 'Whether the candidate was promoted.';
comment on column textmill.training_status.reason is 'Why it was promoted, or why not.';
comment on column textmill.training_status.error is 'What went wrong.';
comment on column textmill.training_status.trained is 'Judged documents that it learned from.';
comment on column textmill.training_status.held_out is 'Judged documents that it was measured on.';
comment on column textmill.training_status.feedback_before is
    'F1 of the parent on held-out feedback, 0 to 1.';
comment on column textmill.training_status.feedback_after is
    'F1 of the candidate on held-out feedback, 0 to 1.';
comment on column textmill.training_status.elsewhere_change is
    'By how much the mean F1 of the fixed test sets changed, -1 to 1; below 0: worse.';
comment on column textmill.training_status.metrics is
    'Every comparison, with its 95 % interval.';
comment on column textmill.training_status.options is 'How it was trained.';
comment on column textmill.training_status.data_hash is 'Hash over all data that it learned from.';
comment on column textmill.training_status.started_by is 'Who started it.';
comment on column textmill.training_status.started_at is 'When it started.';
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
comment on column textmill.model_status.promoted is 'Whether it is the promoted model of its task.';
comment on column textmill.model_status.workers is
    'How many processes serve it, except those that have been silent for 30 s.';
comment on column textmill.model_status.parent is 'The model that its training started from.';
comment on column textmill.model_status.run_id is 'Number of that training.';
comment on column textmill.model_status.feedback_before is
    'F1 of the parent on held-out feedback, 0 to 1.';
comment on column textmill.model_status.feedback_after is
    'F1 of this model on held-out feedback, 0 to 1.';
comment on column textmill.model_status.elsewhere_change is
    'By how much the mean F1 of the fixed test sets changed from the parent''s, -1 to 1;'
    ' below 0: worse.';
comment on column textmill.model_status.added_by is 'Who added it.';
comment on column textmill.model_status.added_at is 'When it was added.';
