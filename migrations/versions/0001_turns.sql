-- One row for each thing that only one transaction at a time may do: it locks the row until it ends.
-- Advisory locks would not do, since any login can take and keep one. No role has rights on this table;
-- functions that run with the owner's rights take the locks.
create table textmill.turn (
    name text not null,
    constraint turn_pkey primary key (name),
    constraint turn_name check (name in ('dispatch', 'partitions', 'pending', 'promotion'))
);

insert into textmill.turn values ('dispatch'), ('partitions'), ('pending'), ('promotion');

-- Refuse a transaction that sees the database as it was when the transaction began: one that waits for a
-- lock and then reads must see what was committed while it waited.
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

-- Called by functions that take a turn or change a job, since others wait until that transaction ends. If
-- it is left open, or its client freezes, Postgres ends it after this many seconds; a shorter limit that
-- is already set is kept.
create function textmill.limit_idling(seconds integer default 60) returns void
    language sql
    set search_path = pg_catalog, pg_temp
as $$
    select set_config('idle_in_transaction_session_timeout', seconds || 's', true)
    -- Zero means no limit.
    where current_setting('idle_in_transaction_session_timeout')::interval
        not between '1 millisecond' and make_interval(secs => seconds)
$$;
