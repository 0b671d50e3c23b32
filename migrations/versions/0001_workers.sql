-- One row per worker process, refreshed with its heartbeat: how much it gets done, which models it
-- serves, and, if one of them is not the promoted one, why.
create table textmill.worker (
    worker text not null,
    host text not null,
    pid integer not null,
    device text not null,
    tasks text[] not null,
    threads integer not null,
    started_at timestamptz not null default now(),
    heartbeat_at timestamptz not null default now(),
    documents bigint not null default 0,
    documents_per_second real not null default 0,
    models jsonb not null default '{}',
    model_error text,
    constraint worker_pkey primary key (worker),
    constraint worker_threads check (threads >= 2),
    constraint worker_documents check (documents >= 0 and documents_per_second >= 0)
);

-- Whether a process with this last heartbeat counts as alive.
create function textmill.is_alive(heartbeat_at timestamptz) returns boolean
    language sql stable
    set search_path = pg_catalog, pg_temp
as $$
    select heartbeat_at > statement_timestamp() - interval '30 seconds'
$$;

create view textmill.worker_status as
select w.worker, w.host, w.pid, w.device, w.tasks, w.threads, w.started_at, w.heartbeat_at,
    statement_timestamp() - w.heartbeat_at as silent,
    w.documents,
    case when textmill.is_alive(w.heartbeat_at) then w.documents_per_second else 0 end
        as documents_per_second,
    (select count(*) from textmill.chunk c where c.state = 'running' and c.worker = w.worker)
        as running_chunks,
    w.models, w.model_error
from textmill.worker w;

comment on view textmill.worker_status is 'One row per worker process.';
comment on column textmill.worker_status.worker is 'Name of the process.';
comment on column textmill.worker_status.host is 'Host that it runs on.';
comment on column textmill.worker_status.pid is 'Its process id on that host.';
comment on column textmill.worker_status.device is 'Device that it is pinned to.';
comment on column textmill.worker_status.tasks is 'Tasks that it serves.';
comment on column textmill.worker_status.threads is 'How many chunks it works on at once.';
comment on column textmill.worker_status.started_at is 'When it was ready.';
comment on column textmill.worker_status.heartbeat_at is 'Time of its last heartbeat.';
comment on column textmill.worker_status.silent is 'Time since its last heartbeat.';
comment on column textmill.worker_status.documents is 'Documents finished since its start.';
comment on column textmill.worker_status.documents_per_second is
    'Documents a second over its last minute; 0 once it has been silent for 30 s.';
comment on column textmill.worker_status.running_chunks is 'Chunks that it is working on.';
comment on column textmill.worker_status.models is 'The model that it serves each task with.';
comment on column textmill.worker_status.model_error is
    'Why it does not serve the promoted model; null if it does.';
