create table textmill.sweep (
    sweep_id bigint generated always as identity,
    name text not null,
    cron text not null,
    timezone text not null,
    source text not null,
    query text not null,
    watermark_column text not null,
    watermark_kind text not null,
    watermark text not null,
    settle interval not null default '0',
    deadline interval,
    paused boolean not null default false,
    next_run_at timestamptz not null,
    schedule_error text,
    created_by text not null default session_user,
    created_at timestamptz not null default now(),
    constraint sweep_pkey primary key (sweep_id),
    constraint sweep_name unique (name),
    constraint sweep_watermark_kind check (watermark_kind in
        ('number', 'text', 'timestamp', 'timestamptz', 'uuid')),
    -- Times that every program can read, even when they are added up.
    constraint sweep_settle check (settle between '0'::interval and '999999 days'::interval),
    constraint sweep_deadline check (deadline > settle and deadline <= '999999 days'::interval),
    constraint sweep_next_run check (next_run_at
        between '1970-01-01 00:00Z'::timestamptz and '9999-01-01 00:00Z'::timestamptz)
);

-- If the source is Textmill's own database, dispatch reads it with its own login, which sees every text:
-- whoever defines such a sweep must be allowed to see them, too.
create function textmill.check_sweep_source() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if new.source = 'textmill' and not has_table_privilege('textmill.document', 'select') then
        raise exception 'a sweep of the source textmill can read every text, and % may not', current_user
            using errcode = 'insufficient_privilege', hint = 'Name a source of its own login.';
    end if;
    return new;
end
$$;

create trigger sweep_source before insert or update of source, query, watermark_column
    on textmill.sweep for each row execute function textmill.check_sweep_source();

-- One row per run. `settling`: the run has begun, its rows are not handed over yet. `running`: its job was
-- accepted. `definition`: hash of the sweep's definition when the run looked how far its rows reach.
create table textmill.sweep_run (
    run_id bigint generated always as identity,
    sweep_id bigint not null,
    state text not null default 'settling',
    scheduled_for timestamptz not null,
    started_at timestamptz not null default now(),
    ready_at timestamptz not null default now(),
    from_watermark text not null,
    to_watermark text,
    definition bytea,
    attempt integer not null default 0,
    errors integer not null default 0,
    lease_expires_at timestamptz,
    job_id uuid,
    finished_at timestamptz,
    swept bigint,
    flagged bigint,
    labels jsonb,
    usual_rate double precision,
    alert text,
    error text,
    constraint sweep_run_pkey primary key (run_id),
    constraint sweep_run_sweep foreign key (sweep_id) references textmill.sweep (sweep_id)
        on delete cascade,
    constraint sweep_run_state check (state in ('settling', 'running', 'finished', 'failed')),
    constraint sweep_run_finished check ((state in ('finished', 'failed'))
        = (finished_at is not null)),
    constraint sweep_run_job check (state <> 'running' or job_id is not null),
    constraint sweep_run_definition check (state <> 'settling' or to_watermark is null
        or definition is not null),
    constraint sweep_run_errors check (errors between 0 and attempt),
    constraint sweep_run_counts check (flagged between 0 and swept)
);

-- A sweep never overlaps itself.
create unique index sweep_run_open on textmill.sweep_run (sweep_id)
    where state in ('settling', 'running');
create index sweep_run_latest on textmill.sweep_run (sweep_id, run_id);

create view textmill.sweep_history as
select s.name, r.run_id, r.state, r.scheduled_for, r.started_at, r.finished_at,
    r.from_watermark, r.to_watermark, r.job_id, r.swept, r.flagged,
    r.flagged::double precision / nullif(r.swept, 0) as flag_rate, r.usual_rate,
    r.flagged::double precision / nullif(r.swept, 0) - r.usual_rate as change,
    r.labels, r.alert, r.error
from textmill.sweep_run r join textmill.sweep s using (sweep_id);

comment on view textmill.sweep_history is 'One row per run of a sweep.';
comment on column textmill.sweep_history.name is 'Name of the sweep.';
comment on column textmill.sweep_history.run_id is 'Number of the run.';
comment on column textmill.sweep_history.state is
    'settling: late rows may still arrive; running: its job was accepted; finished; failed.';
comment on column textmill.sweep_history.scheduled_for is 'When it was due.';
comment on column textmill.sweep_history.started_at is 'When it began.';
comment on column textmill.sweep_history.finished_at is 'When its last outcome was counted.';
comment on column textmill.sweep_history.from_watermark is 'Every row up to here was swept before.';
comment on column textmill.sweep_history.to_watermark is
    'Every row up to here is swept by this run; null if there was none.';
comment on column textmill.sweep_history.job_id is 'Its job; null if there was nothing to sweep.';
comment on column textmill.sweep_history.swept is 'Rows that became documents.';
comment on column textmill.sweep_history.flagged is 'Documents that were flagged.';
comment on column textmill.sweep_history.flag_rate is
    'Share of the rows that were flagged, 0 to 1; null before it is counted, or without rows.';
comment on column textmill.sweep_history.usual_rate is
    'The same share, 0 to 1, over the last 14 runs of the sweep before this one; null if there are fewer'
    ' than 3.';
comment on column textmill.sweep_history.change is 'flag_rate minus usual_rate, -1 to 1.';
comment on column textmill.sweep_history.labels is 'How many documents were flagged with each label.';
comment on column textmill.sweep_history.alert is
    'What somebody should look at; null if nothing is unusual.';
comment on column textmill.sweep_history.error is 'What last went wrong in the run.';

create view textmill.sweep_status as
select s.name, s.paused, s.cron, s.timezone, s.source, s.watermark, s.settle, s.deadline,
    case when not s.paused then s.next_run_at end as next_run_at,
    h.state as last_state, h.started_at as last_started_at, h.job_id as last_job_id,
    h.swept as last_swept, h.flagged as last_flagged, h.flag_rate, h.usual_rate,
    coalesce('the sweep is not run: ' || w.wrong, h.alert) as alert,
    coalesce(w.wrong, h.error) as error, s.created_by, s.created_at
from textmill.sweep s
cross join lateral (select case when not s.paused then s.schedule_error end) as w (wrong)
left join lateral (
    select * from textmill.sweep_history h where h.name = s.name order by h.run_id desc limit 1
) as h on true;

comment on view textmill.sweep_status is 'One row per sweep, with its latest run.';
comment on column textmill.sweep_status.name is 'Name of the sweep.';
comment on column textmill.sweep_status.paused is 'Whether it is paused.';
comment on column textmill.sweep_status.cron is 'When it runs: minute, hour, day, month, weekday.';
comment on column textmill.sweep_status.timezone is 'Time zone of that schedule.';
comment on column textmill.sweep_status.source is 'Name of the database that its rows come from.';
comment on column textmill.sweep_status.watermark is 'Every row up to here was swept.';
comment on column textmill.sweep_status.settle is
    'How long a run waits for rows that are committed late.';
comment on column textmill.sweep_status.deadline is 'How long a run may take; null: no limit.';
comment on column textmill.sweep_status.next_run_at is 'When it is due next; null while it is paused.';
comment on column textmill.sweep_status.last_state is
    'settling, running, finished or failed; null before the first run.';
comment on column textmill.sweep_status.last_started_at is 'When its latest run began.';
comment on column textmill.sweep_status.last_job_id is 'The job of its latest run.';
comment on column textmill.sweep_status.last_swept is 'Rows of its latest run.';
comment on column textmill.sweep_status.last_flagged is 'How many of these were flagged.';
comment on column textmill.sweep_status.flag_rate is 'Share of the rows that were flagged, 0 to 1.';
comment on column textmill.sweep_status.usual_rate is
    'The same share, 0 to 1, over the 14 runs before the latest.';
comment on column textmill.sweep_status.alert is 'What somebody should look at.';
comment on column textmill.sweep_status.error is
    'Why its schedule gives no time, or else what last went wrong in its latest run.';
comment on column textmill.sweep_status.created_by is 'Who added it.';
comment on column textmill.sweep_status.created_at is 'When it was added.';
