-- `given` is what the result said, `answer` what the person holds to be right, both sorted; the
-- trigger sets them. An adjudicating verdict decides for all annotators of its document. `given_by` is
-- the login that handed the verdict over, in whoever's name; no role may set it.
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

-- For reading the verdicts of one annotator, latest first.
create index feedback_by_annotator on textmill.feedback (annotator, feedback_id);

-- The labels of a task, as in schema/outcomes.py; null for keywords, which have none.
create function textmill.labels_of(task text) returns text[]
    language sql immutable
    set search_path = pg_catalog, pg_temp
as $$
    select case task
        when 'sentiment' then array['negative', 'neutral', 'positive']
        when 'moderation'
            then array['abuse', 'hate', 'sexual', 'violence', 'spam', 'fraud', 'illicit']
    end
$$;

-- The right answer according to a verdict, sorted: what the person names, or else what the result says.
-- Each run of blanks becomes one: a keyword that spans two lines of its text is otherwise another one as
-- soon as a form, a spreadsheet or a person writes it.
create function textmill.answer_of(task text, verdict text, payload jsonb, labels text[],
    keywords text[]) returns text[]
    language sql immutable
    set search_path = pg_catalog, pg_temp
as $$
    select coalesce(array_agg(word order by word collate "C"), '{}')
    from (
        select distinct
            btrim(regexp_replace(named, '[' || textmill.blanks() || ']+', ' ', 'g')) as word
        from (
            select unnest(labels) where verdict = 'disagree' and task <> 'keywords'
            union all
            select unnest(keywords) where verdict = 'disagree' and task = 'keywords'
            union all
            select payload ->> 'label' where verdict = 'agree' and task = 'sentiment'
            union all
            select jsonb_array_elements_text(payload -> 'labels')
                where verdict = 'agree' and task = 'moderation'
            union all
            select jsonb_array_elements(payload -> 'keywords') ->> 'text'
                where verdict = 'agree' and task = 'keywords'
        ) as said (named)
    ) as words
$$;

-- The labels that a verdict on this result judges, sorted: those that the result has scores for. Null
-- except for moderation, where each label is a separate question.
create function textmill.annotated_of(task text, payload jsonb) returns text[]
    language sql immutable
    set search_path = pg_catalog, pg_temp
as $$
    select case task when 'moderation' then array(
        select label from jsonb_object_keys(payload -> 'scores') as label
        order by label collate "C") end
$$;

-- A verdict is about one result: find that result, check the verdict against its task, and copy what
-- later training needs. A disagreement that names the result's own answer is refused. Messages say what is
-- wrong with which document, hints say what to do; `textmill` prints both. Whatever a client can get wrong is
-- refused here: if a constraint refused it, its message would quote the row, with the text, into Postgres's
-- log. SECURITY DEFINER, so that a role that inserts feedback need not be able to read documents.
create function textmill.check_feedback() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    allowed text[];
    named text[];
    given_status text;
begin
    -- An erasure of the text waits for this transaction.
    perform textmill.limit_idling();
    if new.verdict is null or new.verdict not in ('agree', 'disagree') then
        raise exception 'the verdict "%" is unknown', new.verdict
            using errcode = 'check_violation', hint = 'It is agree or disagree.';
    end if;
    if new.annotator is null or char_length(new.annotator) not between 1 and 200 then
        raise exception 'the name of the annotator has % characters',
                coalesce(char_length(new.annotator), 0)
            using errcode = 'check_violation', hint = 'It may have 1 to 200.';
    end if;
    new.adjudicates := coalesce(new.adjudicates, false);
    -- A login that may submit hands over verdicts in any name. Others, such as that of a review page, may
    -- not judge in the name of a person who has a login.
    if new.annotator <> session_user
        and not has_any_column_privilege(session_user, 'textmill.job', 'insert')
        and exists (select from pg_roles where rolname = new.annotator and rolcanlogin) then
        raise exception '% judges with a login of their own, not with %', new.annotator, session_user
            using errcode = 'check_violation', hint = 'Give the verdict in your own name.';
    end if;
    -- MATERIALIZED: otherwise ORDER BY tempts the planner to walk the whole job in the order of seq.
    -- FOR SHARE: an erasure of the text waits for this transaction, and then deletes this copy, too.
    with named as materialized (
        select d.seq, d.text from textmill.document d
        where d.job_id = new.job_id and d.external_id = new.external_id
        for share
    )
    select n.seq, n.text, j.task, r.payload, r.model_version
        into new.seq, new.text, new.task, new.payload, new.model_version
        from named n
        join textmill.job j on j.job_id = new.job_id
        join textmill.result r on r.job_id = new.job_id and r.seq = n.seq
        order by n.seq
        limit 1;
    if not found then
        perform textmill.job_state(new.job_id);
        if not exists (select from textmill.document d where d.job_id = new.job_id) then
            raise exception 'the documents of job % are gone: its month was pruned', new.job_id
                using errcode = 'foreign_key_violation', hint = 'Judge those of a later job.';
        end if;
        select s.status into given_status from textmill.document_status s
            where s.job_id = new.job_id and s.external_id = new.external_id
            order by s.seq
            limit 1;
        if not found then
            raise exception 'there is no document "%" in job %', new.external_id, new.job_id
                using errcode = 'foreign_key_violation',
                hint = 'Give the id that the document was submitted with.';
        end if;
        raise exception 'document "%" of job % has no result; its status is %',
                new.external_id, new.job_id, given_status
            using errcode = 'foreign_key_violation',
            hint = 'Judge documents that succeeded.';
    end if;
    if new.text is null then
        raise exception 'the text of document "%" of job % was erased', new.external_id, new.job_id
            using errcode = 'foreign_key_violation', hint = 'Judge others.';
    end if;
    named := case new.task when 'keywords' then new.keywords else new.labels end;
    if array_ndims(named) > 1 or exists (
        select from unnest(named) as n (word)
        where n.word is null or btrim(n.word, textmill.blanks()) = '') then
        raise exception 'a % of the verdict on document "%" is null, blank or a list',
                case new.task when 'keywords' then 'keyword' else 'label' end, new.external_id
            using errcode = 'check_violation', hint = 'Name each as a text of its own.';
    end if;
    allowed := textmill.labels_of(new.task);
    if new.verdict = 'disagree' and new.task = 'keywords' then
        if coalesce(cardinality(new.keywords), 0) = 0 then
            raise exception 'a disagreement about keywords names the right keywords'
                using errcode = 'check_violation',
                hint = 'Name one or more of them, and no labels.';
        end if;
    elsif new.verdict = 'disagree' and (new.labels is null or not new.labels <@ allowed
        or (new.task = 'sentiment' and cardinality(new.labels) <> 1)) then
        raise exception 'a disagreement about % names the right %', new.task,
                case new.task when 'sentiment' then 'label' else 'labels' end
            using errcode = 'check_violation',
            hint = format(
                case when new.task = 'moderation' then 'Name any of: %s; or none, which is clean.'
                    when cardinality(new.labels) = 0
                        then 'Clean is for moderation; name exactly one of: %s.'
                    else 'Name exactly one of: %s.' end,
                array_to_string(allowed, ', '));
    end if;
    if num_nonnulls(new.labels, new.keywords) <> (new.verdict = 'disagree')::integer then
        raise exception 'the verdict % on document "%" does not fit what it names', new.verdict,
                new.external_id
            using errcode = 'check_violation',
            hint = 'A disagreement names the right labels or keywords, an agreement neither.';
    end if;
    new.given := textmill.answer_of(new.task, 'agree', new.payload, null, null);
    new.answer := textmill.answer_of(new.task, new.verdict, new.payload, new.labels, new.keywords);
    if new.verdict = 'disagree' and new.answer = new.given then
        raise exception 'the result of document "%" is already: %', new.external_id,
                coalesce(nullif(array_to_string(new.given, ', '), ''), 'clean')
            using errcode = 'check_violation',
            hint = 'Agree with it, or name what is right instead.';
    end if;
    return new;
end
$$;

create trigger feedback_check before insert on textmill.feedback
    for each row execute function textmill.check_feedback();

-- Add a person's verdict on one result; returns its number.
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
        -- Who adjudicates again breaks both constraints, of which Postgres names one.
        if broken = 'feedback_adjudicated' or add_feedback.adjudicates then
            raise exception 'document "%" was adjudicated before', add_feedback.external_id
                using errcode = 'unique_violation',
                hint = 'That verdict stands; see textmill.feedback_status.';
        end if;
        raise exception '% judged document "%" before', add_feedback.annotator,
                add_feedback.external_id
            using errcode = 'unique_violation',
            hint = 'The verdict stands; name another annotator, or adjudicate to overrule it.';
end
$$;

-- Whether this login may still withdraw a verdict: it gave the verdict itself less than an hour ago, and
-- no adjudication followed. The owner may withdraw those of all logins. The hour is measured by the
-- clock, since the transaction may have begun long ago.
create function textmill.withdrawable(said textmill.feedback) returns boolean
    language sql
as $$
    select said.created_at > clock_timestamp() - interval '1 hour'
        and (said.given_by = session_user or (select pg_has_role(session_user, relowner, 'member')
            from pg_class where oid = 'textmill.feedback'::regclass))
        and (said.adjudicates or not exists (select from textmill.feedback a
            where a.job_id = said.job_id and a.seq = said.seq and a.adjudicates))
$$;

-- Withdraw a verdict, given by mistake, in its annotator's name. Returns its number.
create function textmill.withdraw_feedback(feedback_id bigint, annotator text default session_user)
    returns bigint
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    set lock_timeout = '5s'
as $$
begin
    perform textmill.needs_read_committed();
    perform textmill.limit_idling();
    -- Waits for an adjudication that is not committed yet: it holds the document until then.
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
