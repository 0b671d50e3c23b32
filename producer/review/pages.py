"""The pages, and how verdicts are stored."""

from collections.abc import Mapping
from urllib.parse import urlencode
from uuid import UUID

import sqlalchemy as sa
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.templating import Jinja2Templates

from producer import feedback
from producer.review import highlight, progress
from producer.review.document_view import LONGEST_COMMENT, VerdictForm, document_view
from producer.review.documents import (
    GivenVerdict,
    ReviewedDocument,
    last_verdict,
    load,
    verdicts,
)
from producer.review.guard import Keys, same
from producer.review.orders import ORDERS, Order, Place, Selection, following
from schema.database import reachable
from schema.documents import JobId, Task
from schema.errors import InputError
from schema.states import Agreement

SEE_OTHER = 303
REFUSED = 422

_PASSED_OVER = 100
"""Most documents without a text that a page passes over; each costs a query or two."""

_MOST_DIGITS = 18
"""Most digits of a number in an address or a form; Postgres can hold every such number."""


class Pages:
    """The pages for one annotator.

    Args:
        engine: the database, in a role that may read texts and give feedback.
        annotator: in whose name verdicts are given.
        keys: the secrets of this run.
        templates: what the pages look like.
    """

    def __init__(
        self, engine: sa.Engine, annotator: str, keys: Keys, templates: Jinja2Templates
    ) -> None:
        self._engine = engine
        self._annotator = annotator
        self._keys = keys
        self._templates = templates
        templates.env.globals |= {
            "address": address,
            "form_token": keys.form,
            "longest_comment": LONGEST_COMMENT,
            "most": progress.MOST,
            "parts": highlight.parts,
            "tasks": list(ORDERS),
        }

    def start(self, request: Request) -> Response:
        """Let in a browser that has the token, and lead on to a page without it in its address."""
        if not same(request.query_params.get("token", ""), self._keys.token):
            raise HTTPException(401, "This address is not the one that “textmill review” printed.")
        task = request.query_params.get("task")
        onward = address(f"/review/{_task(task)}") if task else "/"
        # A page, not a redirect: after a click on another site, a browser would not send the
        # cookie when it follows a redirect.
        answer = self._page(request, "start.html", onward=onward)
        answer.set_cookie(self._keys.cookie, self._keys.token, httponly=True, samesite="strict")
        return answer

    def home(self, request: Request) -> Response:
        """What there is to do, for each task."""
        with reachable(self._engine), self._engine.connect() as connection:
            overview = [
                (task, [(order, self._progress(connection, task, order)) for order in orders])
                for task, orders in ORDERS.items()
            ]
        return self._page(request, "home.html", overview=overview)

    def review(self, request: Request) -> Response:
        """The next document of a selection."""
        selection = _selection(request.path_params["task"], request.query_params)
        after = _place(request.query_params.get("after"))
        with reachable(self._engine), self._engine.connect() as connection:
            document = self._next(connection, selection, after)
            return self._document(request, connection, selection, document, after=after)

    def document(self, request: Request) -> Response:
        """One document, whatever its place in the order."""
        found = _place(f"{request.path_params['job_id']}/{request.path_params['seq']}")
        with reachable(self._engine), self._engine.connect() as connection:
            document = load(connection, found) if found else None
            if document is None:
                raise HTTPException(404, "There is no such document with a result.")
            selection = _selection(document.task, request.query_params)
            return self._document(request, connection, selection, document)

    def annotators(self, request: Request) -> Response:
        """Who judged how much, and how far people agree."""
        task = _task(request.path_params["task"])
        with reachable(self._engine), self._engine.connect() as connection:
            return self._page(
                request,
                "progress.html",
                task=task,
                annotators=progress.annotators(connection, task),
                pairs=progress.pairs(connection, task),
            )

    async def verdict(self, request: Request) -> Response:
        """Store a verdict and lead on to the next document."""
        return await run_in_threadpool(self._judge, request, await self._form(request))

    async def undo(self, request: Request) -> Response:
        """Withdraw a verdict and show its document again."""
        return await run_in_threadpool(self._withdraw, await self._form(request))

    def _judge(self, request: Request, form: FormData) -> Response:
        place = _place(str(form.get("place")))
        with reachable(self._engine), self._engine.connect() as connection:
            document = load(connection, place) if place else None
        if document is None:
            raise HTTPException(404, "There is no such document with a result.")
        selection = _selection(document.task, form)
        verdict_form = VerdictForm.from_form(form)
        if len(verdict_form.comment) > LONGEST_COMMENT:
            raise HTTPException(400, f"A comment has at most {LONGEST_COMMENT:,} characters.")
        try:
            feedback.add(self._engine, self._verdict(document, selection, verdict_form))
        except InputError as error:
            with reachable(self._engine), self._engine.connect() as connection:
                return self._document(
                    request, connection, selection, document, error=str(error), form=verdict_form
                )
        return RedirectResponse(
            address(f"/review/{document.task}", selection, after=document.place), SEE_OTHER
        )

    def _verdict(
        self, document: ReviewedDocument, selection: Selection, form: VerdictForm
    ) -> feedback.Verdict:
        if document.text is None:  # its id may be made up, and that of another document
            msg = "the text of this document was erased; it cannot be judged any more"
            raise InputError(msg)
        agrees = form.agrees or set(form.answer) == set(document.given)
        of_keywords = document.task is Task.KEYWORDS
        return feedback.parse(
            {
                "job_id": document.place.job_id,
                "external_id": document.external_id,
                "verdict": Agreement.AGREE if agrees else Agreement.DISAGREE,
                "keywords" if of_keywords else "labels": None if agrees else form.answer,
                "comment": form.comment,
                "annotator": self._annotator,
                "adjudicates": selection.order is Order.DISPUTED,
            }
        )

    def _withdraw(self, form: FormData) -> Response:
        place = _place(str(form.get("place")))
        number = _number(str(form.get("feedback_id")))
        if place is None or number is None:
            raise HTTPException(400, "This form is not one of ours.")
        feedback.withdraw(self._engine, number, self._annotator)
        selection = _selection(str(form.get("task")), form)
        return RedirectResponse(
            address(f"/document/{place.job_id}/{place.seq}", selection), SEE_OTHER
        )

    async def _form(self, request: Request) -> FormData:
        form = await request.form(max_files=0)
        if not same(str(form.get("form_token", "")), self._keys.form):
            raise HTTPException(403, "This form is of an earlier run; open the page again.")
        return form

    def _next(
        self, connection: sa.Connection, selection: Selection, after: Place | None
    ) -> ReviewedDocument | None:
        """The next document with a text; of those whose text was erased, many are passed over."""
        document = None
        for _ in range(_PASSED_OVER):
            place = following(connection, selection, self._annotator, after)
            document = load(connection, place) if place else None
            if document is None or document.text is not None:
                break
            after = document.place
        return document

    def _progress(self, connection: sa.Connection, task: Task, order: Order) -> progress.Progress:
        return progress.progress(connection, Selection(task=task, order=order), self._annotator)

    def _document(  # noqa: PLR0913  # what a page may show
        self,
        request: Request,
        connection: sa.Connection,
        selection: Selection,
        document: ReviewedDocument | None,
        *,
        after: Place | None = None,
        error: str | None = None,
        form: VerdictForm | None = None,
    ) -> Response:
        disputed = document is not None and selection.order is Order.DISPUTED
        last = last_verdict(connection, self._annotator, selection.task)
        return self._page(
            request,
            "review.html",
            status=REFUSED if error else 200,
            selection=selection,
            orders=ORDERS[selection.task],
            jobs=progress.job_choices(connection, selection.task),
            progress=progress.progress(connection, selection, self._annotator),
            last=last,
            undoing=last and _given_in(selection, last),
            view=document and document_view(document, request.query_params, form),
            verdicts=verdicts(connection, document.place) if document and disputed else [],
            after=after,
            error=error,
        )

    def _page(self, request: Request, name: str, *, status: int = 200, **shown: object) -> Response:
        context = {"annotator": self._annotator, **shown}
        return self._templates.TemplateResponse(request, name, context, status_code=status)


def address(path: str, selection: Selection | None = None, **more: object) -> str:
    """The address of a page that keeps the selection; a Place is written `JOB/SEQ`."""
    query: dict[str, object] = {}
    if selection:
        query = {"order": selection.order}
        if selection.job:
            query["job"] = selection.job
        if selection.second:
            query["second"] = 1
    for name, value in more.items():
        if value is not None:
            query[name] = f"{value.job_id}/{value.seq}" if isinstance(value, Place) else value
    return f"{path}?{urlencode(query)}" if query else path


def _given_in(selection: Selection, verdict: GivenVerdict) -> Selection:
    """The selection, in an order in which the verdict can be given again as what it was.

    A verdict on a dispute decides for all annotators; no other one does.
    """
    if verdict.adjudicates:
        order = Order.DISPUTED
    elif selection.order is Order.DISPUTED:
        order = ORDERS[selection.task][0]
    else:
        order = selection.order
    return selection.model_copy(update={"order": order})


def _task(name: str) -> Task:
    if name not in list(Task):
        raise HTTPException(404, "There is no such task.")
    return Task(name)


def _selection(task: str, given: Mapping[str, object]) -> Selection:
    known = _task(task)
    try:
        selection = Selection(
            task=known,
            order=Order(str(given.get("order") or ORDERS[known][0])),
            job=UUID(str(given["job"])) if given.get("job") else None,
            second=bool(given.get("second")),
        )
    except (ValueError, ValidationError):
        raise HTTPException(400, "This address is not one of ours.") from None
    if selection.order not in ORDERS[known]:
        raise HTTPException(400, f"Results of {known} have no order “{selection.order}”.")
    return selection


def _place(text: str | None) -> Place | None:
    if not text:
        return None
    job_id, _, seq = text.partition("/")
    number = _number(seq)
    try:
        if number is not None:
            return Place(JobId(UUID(job_id)), number)
    except ValueError:
        pass
    raise HTTPException(400, "This address is not one of ours.")


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else None
