-- Partitioned by ranges of job ids, as results and failures are: ids order by time, so a job lies in one
-- partition, and retention empties whole partitions. No foreign keys, so that COPY stays fast and a
-- partition can be emptied without a scan of the others.
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

create trigger document_changed after update on textmill.document
    referencing old table as before for each statement execute function textmill.check_rows_kept();
create trigger document_deleted after delete on textmill.document
    referencing old table as before for each statement execute function textmill.check_rows_kept();
create trigger document_added after insert on textmill.document
    referencing new table as added for each statement execute function textmill.check_rows_added();
