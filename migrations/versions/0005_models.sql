-- Which models there are, which of them serve, and the trainings that made them. Rows are added and
-- never overwritten, but for the end of a training.
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

-- The latest row of a task says what serves; without a version, each worker's default.
-- `previous` is the row that a rollback goes back to. Rows are added by functions with the owner's
-- rights alone, so that `promoted_by` is who did it.
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

-- The latest promotion of a task, all null without one; nobody else promotes until the end of the
-- transaction.
create function textmill.latest_promotion(of_task text) returns textmill.model_promotion
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    latest textmill.model_promotion;
begin
    perform textmill.needs_read_committed();
    perform from textmill.turn where name = 'promotion' for update;
    select * into latest from textmill.model_promotion p
        where p.task = of_task order by p.promotion_id desc limit 1;
    return latest;
end
$$;

-- Have a version serve a task; null: each worker's default. Running workers follow. Returns
-- the promotion's number; null, where `instead_of` is no longer the latest one (0: none).
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
    if instead_of <> coalesce(latest.promotion_id, 0) then
        return null;
    end if;
    if latest.promotion_id is not null
            and latest.model_version is not distinct from promote_model.model_version then
        return latest.promotion_id;
    end if;
    insert into textmill.model_promotion (task, model_version, previous)
        values (promote_model.task, promote_model.model_version, latest.promotion_id)
        returning promotion_id into made;
    return made;
end
$$;

-- Have the version serve that was promoted before the present one. Returns it; null: each
-- worker's default. Said again, it goes back further.
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
