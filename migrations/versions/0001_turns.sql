-- What one transaction at a time may do: it locks the row until it ends. No advisory locks, which
-- anybody who may log in can take and keep. No role has rights here; functions of the owner lock.
create table textmill.turn (
    name text not null,
    constraint turn_pkey primary key (name),
    constraint turn_name check (name in ('dispatch', 'partitions', 'pressure', 'promotion'))
);

insert into textmill.turn values ('dispatch'), ('partitions'), ('pressure'), ('promotion');

-- Refuse a transaction that sees the database as it was at its beginning. Whoever waits for a row to be
-- alone and then reads must see what was committed while it waited.
create function textmill.needs_read_committed() returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    level constant text := current_setting('transaction_isolation');
begin
    if level not in ('read committed', 'read uncommitted') then
        raise exception 'this cannot be done in a transaction of isolation level %', level
            using errcode = 'invalid_transaction_state',
            hint = 'Begin it with: begin isolation level read committed';
    end if;
end
$$;

-- For whoever takes a turn, or changes a job: others wait until the end of that transaction. One that is
-- forgotten open, or whose client froze, is ended after so many seconds, or sooner where it would be.
create function textmill.limit_idling(seconds integer default 60) returns void
    language sql
    set search_path = pg_catalog, pg_temp
as $$
    select set_config('idle_in_transaction_session_timeout', seconds || 's', true)
    -- Zero is no limit.
    where current_setting('idle_in_transaction_session_timeout')::interval
        not between '1 millisecond' and make_interval(secs => seconds)
$$;
