-- Try to make this transaction the only step of dispatch until it ends; false if another one is. It
-- never waits.
create function textmill.dispatch_turn() returns boolean
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform textmill.limit_idling(10);
    perform from textmill.turn where name = 'dispatch' for update skip locked;
    return found;
end
$$;

create view textmill.queue_status as
with open as (
    select j.task, j.lane, c.job_id, c.state, c.last_seq - c.first_seq + 1 as documents, j.created_at
    from textmill.chunk c
    join textmill.job j using (job_id)
    where c.state in ('pending', 'dispatched', 'running') and j.state in ('pending', 'running')
)
select q.task, q.lane, count(distinct o.job_id) as jobs,
    count(*) filter (where o.state = 'pending') as pending_chunks,
    count(*) filter (where o.state = 'dispatched') as dispatched_chunks,
    count(*) filter (where o.state = 'running') as running_chunks,
    coalesce(sum(o.documents) filter (where o.state <> 'running'), 0)::bigint as waiting_documents,
    statement_timestamp() - min(o.created_at) filter (where o.state <> 'running') as oldest,
    (select coalesce(sum(w.threads), 0) from textmill.worker w
        where q.task = any (w.tasks) and textmill.is_alive(w.heartbeat_at)) as threads
from (values ('sentiment'), ('keywords'), ('moderation')) as t (task)
cross join (values ('interactive'), ('bulk')) as l (lane)
cross join lateral (select t.task, l.lane) as q
left join open o on o.task = q.task and o.lane = q.lane
group by q.task, q.lane;

comment on view textmill.queue_status is
    'What waits and what runs, by task and lane. Paused jobs are left out.';
comment on column textmill.queue_status.task is 'sentiment, keywords or moderation.';
comment on column textmill.queue_status.lane is 'interactive or bulk.';
comment on column textmill.queue_status.jobs is 'Jobs with work left.';
comment on column textmill.queue_status.pending_chunks is 'Chunks that wait to be published.';
comment on column textmill.queue_status.dispatched_chunks is 'Chunks published and not yet claimed.';
comment on column textmill.queue_status.running_chunks is 'Chunks that workers are working on.';
comment on column textmill.queue_status.waiting_documents is
    'Documents of the chunks that no worker has claimed, including rejected ones.';
comment on column textmill.queue_status.oldest is
    'Age of the oldest job with a chunk that no worker has claimed; null if there is none.';
comment on column textmill.queue_status.threads is
    'Threads of the worker processes that serve the task, except those that have been silent for 30 s.';
