-- How much a process gets done, refreshed with its heartbeat; what it serves, and why that is not what
-- was promoted.
alter table textmill.worker
    add column documents bigint not null default 0,
    add column documents_per_second real not null default 0,
    add column models jsonb not null default '{}',
    add column model_error text,
    add constraint worker_documents check (documents >= 0 and documents_per_second >= 0);

-- Whether a process lives.
create function textmill.is_alive(heartbeat_at timestamptz) returns boolean
    language sql stable
    set search_path = pg_catalog, pg_temp
as $$
    select heartbeat_at > now() - interval '30 seconds'
$$;

-- What a moderator reads: a few in a hundred results, newest job and highest score first.
create index result_flagged on textmill.result (job_id, score, seq)
    where (payload ->> 'flagged')::boolean;

-- Labels of a job are counted without reading its results.
create index result_label on textmill.result (job_id, label, score, seq);

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
    -- Times that every program can read, also when they are added up.
    constraint sweep_settle check (settle between '0'::interval and '999999 days'::interval),
    constraint sweep_deadline check (deadline > settle and deadline <= '999999 days'::interval),
    constraint sweep_next_run check (next_run_at
        between '1970-01-01 00:00Z'::timestamptz and '9999-01-01 00:00Z'::timestamptz)
);

-- Dispatch reads Textmill's own database with its own login, which sees every text: who defines such
-- a sweep must be allowed to see them, too.
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

-- One row per run. `settling`: begun, rows not handed over yet. `running`: its job was accepted.
-- `definition`: hash of what the sweep said when the run looked how far its rows reach.
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
