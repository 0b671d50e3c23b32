-- Job ids: UUIDv7, made here so that no client's clock matters, and so that ids order by time.
create function textmill.new_job_id() returns uuid
    language sql volatile parallel safe
    set search_path = pg_catalog, pg_temp
as $$
    -- RFC 9562: 48 bits of milliseconds over the head of a random UUIDv4, then version 4 -> 7.
    select encode(
        set_bit(set_bit(
            overlay(
                uuid_send(gen_random_uuid())
                placing substring(
                    int8send(floor(extract(epoch from clock_timestamp()) * 1000)::bigint) from 3
                )
                from 1 for 6
            ), 52, 1), 53, 1),
        'hex')::uuid
$$;

-- The lowest id that a job made at that time can have: turns a query by time into one by job_id.
create function textmill.job_id_at(at timestamptz) returns uuid
    language sql immutable strict parallel safe
    set search_path = pg_catalog, pg_temp
as $$
    select (lpad(to_hex(floor(extract(epoch from at) * 1000)::bigint), 12, '0')
        || repeat('0', 20))::uuid
$$;

create table textmill.job (
    job_id uuid not null default textmill.new_job_id(),
    task text not null,
    lane text not null,
    name text,
    submitted_by text not null default session_user,
    idempotency_key text,
    content_hash bytea,
    state text not null default 'loading',
    options jsonb not null default '{}'::jsonb,
    accepted bigint not null default 0,
    rejected bigint not null default 0,
    succeeded bigint not null default 0,
    failed bigint not null default 0,
    cancelled bigint not null default 0,
    weight integer not null default 1,
    deadline_at timestamptz,
    created_at timestamptz not null default now(),
    loaded_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,
    constraint job_pkey primary key (job_id),
    constraint job_idempotency_key unique (submitted_by, idempotency_key),
    constraint job_task check (task in ('sentiment', 'keywords', 'moderation')),
    constraint job_lane check (lane in ('interactive', 'bulk')),
    constraint job_state check (state in ('loading', 'pending', 'running', 'paused',
        'cancelling', 'completed', 'cancelled', 'expired')),
    constraint job_weight check (weight between 1 and 1000),
    constraint job_counters check (accepted >= 0 and rejected >= 0 and succeeded >= 0
        and cancelled >= 0 and failed >= rejected),
    constraint job_conservation check (succeeded + failed + cancelled <= accepted),
    constraint job_finished check ((state in ('completed', 'cancelled', 'expired'))
        = (finished_at is not null)),
    constraint job_finished_whole check (state not in ('completed', 'cancelled', 'expired')
        or succeeded + failed + cancelled = accepted),
    constraint job_idempotency check (idempotency_key is null or content_hash is not null)
) with (fillfactor = 70);  -- counters are updated in place, once per chunk

create index job_created on textmill.job (created_at);
create index job_live on textmill.job (lane, job_id)
    where state in ('loading', 'pending', 'running', 'cancelling');

create table textmill.chunk (
    job_id uuid not null,
    chunk_no integer not null,
    first_seq bigint not null,
    last_seq bigint not null,
    tokens bigint not null,
    state text not null default 'pending',
    attempt integer not null default 0,
    crashes integer not null default 0,
    not_before timestamptz,
    dispatched_at timestamptz,
    lease_expires_at timestamptz,
    worker text,
    constraint chunk_pkey primary key (job_id, chunk_no),
    constraint chunk_job foreign key (job_id) references textmill.job (job_id) on delete cascade,
    constraint chunk_state check (state in ('pending', 'dispatched', 'running', 'done', 'split',
        'cancelled')),
    constraint chunk_numbers check (chunk_no >= 0 and tokens >= 0),
    constraint chunk_range check (first_seq between 1 and last_seq),
    constraint chunk_attempts check (attempt >= 0 and crashes between 0 and attempt),
    constraint chunk_lease check ((state = 'running') = (lease_expires_at is not null)),
    constraint chunk_dispatched check (state not in ('dispatched', 'running')
        or dispatched_at is not null),
    constraint chunk_claimed check (state <> 'running' or (attempt > 0 and worker is not null))
);

create index chunk_pending on textmill.chunk (job_id, chunk_no) where state = 'pending';
create index chunk_dispatched_at on textmill.chunk (dispatched_at) where state = 'dispatched';
create index chunk_running on textmill.chunk (lease_expires_at) where state = 'running';

create table textmill.document (
    job_id uuid not null,
    seq bigint not null,
    external_id text,
    text text,
    metadata jsonb,
    line bigint,
    constraint document_pkey primary key (job_id, seq),
    constraint document_seq check (seq >= 1)
) partition by range (job_id);

create index document_external_id on textmill.document (job_id, external_id);

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
    constraint failure_code check (code ~ '^[a-z_]+$')
) partition by range (job_id);

create table textmill.worker (
    worker text not null,
    host text not null,
    pid integer not null,
    device text not null,
    tasks text[] not null,
    threads integer not null,
    started_at timestamptz not null default now(),
    heartbeat_at timestamptz not null default now(),
    constraint worker_pkey primary key (worker),
    constraint worker_threads check (threads >= 2)
);

-- What one transaction at a time may do: it locks the row until it ends. No advisory locks, which
-- anybody who may log in can take and keep. No role has rights here; functions of the owner lock.
create table textmill.turn (
    name text not null,
    constraint turn_pkey primary key (name),
    constraint turn_name check (name in ('dispatch', 'partitions', 'pressure', 'promotion'))
);

insert into textmill.turn values ('dispatch'), ('partitions'), ('pressure'), ('promotion');

-- `given` is what the result said, `answer` what the person holds to be right, both sorted; the
-- trigger sets them. An adjudicating verdict decides for all annotators of its document. `given_by` is
-- the login that handed the verdict over, in whose name ever; no role may set it.
create table textmill.feedback (
    feedback_id bigint generated always as identity,
    job_id uuid not null,
    external_id text not null,
    verdict text not null,
    labels text[],
    keywords text[],
    comment text,
    annotator text not null default session_user,
    created_at timestamptz not null default now(),
    seq bigint not null,
    task text not null,
    text text not null,
    payload jsonb not null,
    model_version text not null,
    given_by text not null default session_user,
    adjudicates boolean not null default false,
    given text[] not null,
    answer text[] not null,
    constraint feedback_pkey primary key (feedback_id),
    constraint feedback_once unique (job_id, seq, annotator, adjudicates),
    constraint feedback_verdict check (verdict in ('agree', 'disagree')),
    constraint feedback_task check (task in ('sentiment', 'keywords', 'moderation')),
    constraint feedback_annotator check (char_length(annotator) between 1 and 200),
    constraint feedback_correction check (num_nonnulls(labels, keywords)
        = case verdict when 'agree' then 0 else 1 end)
);
create unique index feedback_adjudicated on textmill.feedback (job_id, seq) where adjudicates;
