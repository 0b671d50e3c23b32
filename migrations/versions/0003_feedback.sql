-- As in the first migration, and with what the result said and what the person says.
create or replace function textmill.check_feedback() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    allowed text[];
begin
    -- MATERIALIZED: otherwise the order tempts the planner to walk the whole job by its positions.
    with named as materialized (
        select d.seq, d.text from textmill.document d
        where d.job_id = new.job_id and d.external_id = new.external_id
    )
    select n.seq, n.text, j.task, r.payload, r.model_version
        into new.seq, new.text, new.task, new.payload, new.model_version
        from named n
        join textmill.job j on j.job_id = new.job_id
        join textmill.result r on r.job_id = new.job_id and r.seq = n.seq
        order by n.seq
        limit 1;
    if not found then
        raise exception 'document "%" of job % has no result', new.external_id, new.job_id
            using errcode = 'foreign_key_violation',
            hint = 'Feedback speaks of a succeeded document; see textmill.document_status.';
    end if;
    allowed := case new.task
        when 'sentiment' then array['negative', 'neutral', 'positive']
        else array['abuse', 'hate', 'sexual', 'violence', 'spam', 'fraud', 'illicit']
    end;
    if new.verdict = 'disagree' and new.task = 'keywords' then
        if coalesce(cardinality(new.keywords), 0) = 0 then
            raise exception 'a disagreement about keywords names the right keywords'
                using errcode = 'check_violation',
                hint = 'Set keywords to a non-empty array, and leave labels null.';
        end if;
    elsif new.verdict = 'disagree' and (new.labels is null or not new.labels <@ allowed
        or (new.task = 'sentiment' and cardinality(new.labels) <> 1)) then
        raise exception 'a disagreement about % names the right label(s)', new.task
            using errcode = 'check_violation',
            hint = format('Set labels to %s of: %s.',
                case new.task when 'sentiment' then 'exactly one' else 'any (none: clean)' end,
                array_to_string(allowed, ', '));
    end if;
    new.given := textmill.answer_of(new.task, 'agree', new.payload, null, null);
    new.answer := textmill.answer_of(new.task, new.verdict, new.payload, new.labels, new.keywords);
    return new;
end
$$;

-- A person's verdict on one result; returns its number.
create function textmill.add_feedback(job_id uuid, external_id text, verdict text,
    labels text[] default null, keywords text[] default null, comment text default null,
    annotator text default session_user, adjudicates boolean default false) returns bigint
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    added bigint;
    broken text;
begin
    if add_feedback.verdict is null or add_feedback.verdict not in ('agree', 'disagree') then
        raise exception 'the verdict "%" is unknown', add_feedback.verdict
            using errcode = 'check_violation', hint = 'It is agree or disagree.';
    end if;
    insert into textmill.feedback
        (job_id, external_id, verdict, labels, keywords, comment, annotator, adjudicates)
        values (add_feedback.job_id, add_feedback.external_id, add_feedback.verdict,
            add_feedback.labels, add_feedback.keywords, add_feedback.comment,
            add_feedback.annotator, add_feedback.adjudicates)
        returning feedback_id into added;
    return added;
exception
    when unique_violation then
        get stacked diagnostics broken = constraint_name;
        if broken = 'feedback_adjudicated' then
            raise exception 'document "%" was adjudicated before', add_feedback.external_id
                using errcode = 'unique_violation',
                hint = 'A document is adjudicated once; see textmill.feedback_status.';
        end if;
        raise exception '% judged document "%" before', add_feedback.annotator,
                add_feedback.external_id
            using errcode = 'unique_violation',
            hint = 'An annotator judges a document once; who decides in the end adjudicates.';
    when check_violation then
        get stacked diagnostics broken = constraint_name;
        if broken = 'feedback_correction' then
            raise exception 'the verdict % does not fit what it names', add_feedback.verdict
                using errcode = 'check_violation',
                hint = 'A disagreement names the right labels or keywords, an agreement neither.';
        end if;
        raise;
end
$$;
