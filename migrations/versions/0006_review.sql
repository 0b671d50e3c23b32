-- What one annotator said, latest first.
create index feedback_by_annotator on textmill.feedback (annotator, feedback_id);

-- Whether this login may still take a verdict back: one that it gave itself, soon, and before others
-- have built on it. The owner may take back those of all logins. By the clock, and not by when the
-- transaction began, which may be long ago.
create function textmill.withdrawable(said textmill.feedback) returns boolean
    language sql
as $$
    select said.created_at > clock_timestamp() - interval '1 hour'
        and (said.given_by = session_user or (select pg_has_role(session_user, relowner, 'member')
            from pg_class where oid = 'textmill.feedback'::regclass))
        and (said.adjudicates or not exists (select from textmill.feedback a
            where a.job_id = said.job_id and a.seq = said.seq and a.adjudicates))
$$;

-- A slip is taken back in the name of who made it. Returns its number.
create function textmill.withdraw_feedback(feedback_id bigint, annotator text default session_user)
    returns bigint
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    set lock_timeout = '5s'
as $$
begin
    perform textmill.needs_read_committed();
    perform textmill.limit_idling();
    -- Whoever adjudicates the document holds it until that is committed.
    perform from textmill.feedback f
        join textmill.document d on d.job_id = f.job_id and d.seq = f.seq
        where f.feedback_id = withdraw_feedback.feedback_id
        for no key update of d;
    delete from textmill.feedback f
        where f.feedback_id = withdraw_feedback.feedback_id
        and f.annotator = withdraw_feedback.annotator
        and textmill.withdrawable(f);
    if not found then
        raise exception 'verdict % of % cannot be withdrawn', withdraw_feedback.feedback_id,
                withdraw_feedback.annotator
            using errcode = 'check_violation',
            hint = 'The login that gave it may, in its annotator''s name, within an hour, unless the'
                ' document was adjudicated since.';
    end if;
    return withdraw_feedback.feedback_id;
end
$$;
