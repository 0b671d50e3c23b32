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
