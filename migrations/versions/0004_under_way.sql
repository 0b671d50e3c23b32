-- A step of dispatch counts the chunks under way, of a lane and of each job. There are a few for
-- every worker thread, however many chunks wait or are done.
create index chunk_under_way on textmill.chunk (job_id) include (tokens)
    where state in ('dispatched', 'running');
