-- What one annotator said, latest first.
create index feedback_annotator on textmill.feedback (annotator, feedback_id);

-- A slip is taken back in the name of who made it, soon, and before others have built on it. Returns its number.
create function textmill.withdraw_feedback(feedback_id bigint, annotator text default session_user)
    returns bigint
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    delete from textmill.feedback f
        where f.feedback_id = withdraw_feedback.feedback_id
        and f.annotator = withdraw_feedback.annotator
        and f.created_at > now() - interval '1 hour'
        and (f.adjudicates or not exists (select from textmill.feedback a
            where a.job_id = f.job_id and a.seq = f.seq and a.adjudicates));
    if not found then
        raise exception 'verdict % of % cannot be withdrawn', withdraw_feedback.feedback_id,
                withdraw_feedback.annotator
            using errcode = 'check_violation',
            hint = 'Its annotator may, within an hour, unless the document was adjudicated since.';
    end if;
    return withdraw_feedback.feedback_id;
end
$$;
