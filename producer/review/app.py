"""The application: its routes and error pages."""

from pathlib import Path

import jinja2
import sqlalchemy as sa
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates
from starlette.types import ASGIApp

from producer.review import guard
from producer.review.guard import Guard, Keys
from producer.review.pages import Pages
from schema.errors import SchemaVersionError, ServiceUnavailableError, TextmillError

LARGEST_FORM = 256 * 1024
"""Most bytes of a form; comments and keywords are far shorter."""

_FOLDER = Path(__file__).parent


def create_app(engine: sa.Engine, annotator: str, keys: Keys, host: str) -> ASGIApp:
    """The page for one annotator.

    Args:
        engine: the database, in a role that may read texts and give feedback.
        annotator: in whose name verdicts are given.
        keys: the secrets of this run.
        host: the name or address that the server listens on.
    """
    templates = Jinja2Templates(
        env=jinja2.Environment(
            loader=jinja2.FileSystemLoader(_FOLDER / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
    )

    def refuse(request: Request, status: int, reason: str) -> Response:
        # A person who is not let in does not learn the annotator's name.
        name = "" if status in (401, 421) else annotator
        context = {"annotator": name, "status": status, "reason": reason}
        return templates.TemplateResponse(request, "error.html", context, status_code=status)

    def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101  # registered for it alone
        return refuse(request, error.status_code, error.detail)

    def on_our_error(request: Request, error: Exception) -> Response:
        absent = isinstance(error, ServiceUnavailableError | SchemaVersionError)
        return refuse(request, 503 if absent else 400, str(error))

    pages = Pages(engine, annotator, keys, templates)
    app = Starlette(
        routes=[
            Route(guard.START, pages.start),
            Route("/", pages.home),
            Route("/review/{task}", pages.review),
            Route("/document/{job_id}/{seq}", pages.document),
            Route("/progress/{task}", pages.annotators),
            Route("/verdict", pages.verdict, methods=["POST"]),
            Route("/undo", pages.undo, methods=["POST"]),
            Mount(guard.STATIC, StaticFiles(directory=_FOLDER / "static")),
        ],
        exception_handlers={HTTPException: on_http_error, TextmillError: on_our_error},
        max_body_size=LARGEST_FORM,
    )
    return Guard(app, keys, host, refuse)
