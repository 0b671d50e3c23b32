"""Who is let in, and what a browser may do with the pages.

Four independent checks: the Host header must be an IP address or a name that this server knows, so
that no foreign name can be made to lead here; the cookie must hold the token from the start URL; a
request that changes something must come from this origin; and it must carry the form's token.
Nothing in a document is ever run: the policy allows only this server's script and style.
"""

import secrets
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

START = "/start"
STATIC = "/static"

Refuse = Callable[[Request, int, str], Response]

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self';"
    " img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Not `no-referrer`: with it, a browser hides the origin of a form from its own server too.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Keys:
    """The secrets of one run of the server.

    Attributes:
        token: lets a browser in.
        form: token that every form carries.
        cookie: name of the cookie that holds the token; it includes the port, since servers on
            several ports of a host share their cookies.
    """

    def __init__(self, port: int) -> None:
        self.token = secrets.token_urlsafe(32)
        self.form = secrets.token_urlsafe(32)
        self.cookie = f"textmill_review_{port}"


def same(given: str, expected: str) -> bool:
    """Whether both are equal; the time this takes does not reveal how much of them is."""
    return secrets.compare_digest(given.encode(), expected.encode())


class Guard:
    """Refuses requests that do not come from the annotator, before anything else sees them.

    Args:
        app: the application to guard.
        keys: the secrets.
        host: the name or address that the server was told to listen on.
        refuse: makes the response to a refused request from a status and a reason.
    """

    def __init__(self, app: ASGIApp, keys: Keys, host: str, refuse: Refuse) -> None:
        self._app = app
        self._keys = keys
        self._names = {"localhost", host.lower()}
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on allowed requests, and add the policy to every response."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        request = Request(scope)
        refusal = self._refusal(request)
        answer = self._refuse(request, *refusal) if refusal else self._app
        await answer(scope, receive, send_guarded)

    def _refusal(self, request: Request) -> tuple[int, str] | None:
        if not self._is_ours(request.headers.get("host", "")):
            return 421, "This server does not go by that name."
        path = request.url.path
        if path == START or path.startswith(f"{STATIC}/"):
            return None
        if not same(request.cookies.get(self._keys.cookie, ""), self._keys.token):
            return 401, "Open the address that “textmill review” printed."
        if request.method not in ("GET", "HEAD") and not _is_from_here(request.headers):
            return 403, "This form was sent from another site."
        return None

    def _is_ours(self, host: str) -> bool:
        """Whether the Host header is one of ours.

        An IP address needs no name server, so nobody can make it lead elsewhere.
        """
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in self._names or _is_address(name)


def _is_from_here(headers: Headers) -> bool:
    origin = headers.get("origin")
    try:
        if origin is not None and urlsplit(origin).netloc != headers["host"]:
            return False
    except ValueError:
        return False
    return headers.get("sec-fetch-site", "same-origin") == "same-origin"


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
