"""What is refused before Gradio sees it: strangers, other sites that use a visitor's browser, and ways nobody needs."""

import base64
import binascii
import hmac
import logging
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from motionclone.errors import in_one_line
from motionclone.studio.bodies import RefusedError, answer, checked

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

USER = "studio"
MOST_TRIES, WINDOW = 10, 60.0
"""Wrong passwords of one address in so many seconds; more are not looked at."""

# What Gradio serves besides, and the studio has no use for: other apps and addresses, the hub, its own development.
_CLOSED = (
    "file=http:", "file=https:", "proxy=", "run-history", "runs", "vibe", "undo-vibe", "process_recording", "dev/",
    "custom_component", "stream/", "profiling", "deep_link",
)  # fmt: skip
# What a browser needs to show the question for the password, and the server to start.
_OPEN = (
    "/assets/", "/static/", "/svelte/", "/pwa_icon", "/theme.css", "/gradio_api/theme.css", "/favicon.ico",
    "/robots.txt", "/manifest.json", "/login", "/gradio_api/startup-events", "/gradio_api/login_check",
)  # fmt: skip
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "content-security-policy": "frame-ancestors 'none'; object-src 'none'; base-uri 'self'; form-action 'self'",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_log = logging.getLogger(__name__)


class Guard:
    """A layer around an ASGI app.

    A page of another site can send requests to this machine from the browser of whoever visits it, or have its own name
    lead here. So only the studio's own pages are answered, and a `local` studio, which need not ask for a password, is
    so under its own names alone. With a `password` nothing is served without it but the question for it: not only what
    Gradio asks it for. Programs may send it with every request.
    """

    def __init__(self, app: App, folder: Path, local: bool, password: str | None = None) -> None:
        """`folder` is the studio's, the only one whose files may be named."""
        self._app, self._folder, self._local, self._password = app, folder, local, password
        self._token, self._wrong = secrets.token_urlsafe(32), Tries()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Hand a request on, or answer why not."""
        if scope["type"] == "websocket":  # there are none here
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def sent(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self._heard(scope, message["status"])
                message = {**message, "headers": _with_ours(message.get("headers", []), scope["path"])}
            await send(message)

        try:
            scope = self._let_in(scope)
            await self._app(scope, await checked(scope, receive, self._folder), sent)
        except RefusedError as refused:
            await answer(sent, refused.status, refused.sentence)
        except Exception as error:
            if started:
                raise
            _log.warning("%s could not be answered: %s", scope["path"][:200], in_one_line(error)[:500])
            told = "there is no such endpoint" if isinstance(error, KeyError) else in_one_line(error)[:500]
            await answer(sent, 400, f"{told.partition('. Please')[0]}.")

    def _let_in(self, scope: Message) -> Message:
        """The request as it is handed on. RefusedError for one that is not."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        path = unquote(scope["path"]).lower().replace("/file/", "/file=")
        inner = path.removeprefix("/").removeprefix("gradio_api/")
        if inner.startswith(_CLOSED) or path.startswith("/monitoring"):
            raise RefusedError(403, "this is not for this studio.")
        host, origin, site = (headers.get(name, "") for name in ("host", "origin", "sec-fetch-site"))
        named = self._local and not is_local(urlsplit(f"//{host}").hostname or "")
        follows = (scope["method"], headers.get("sec-fetch-mode")) == ("GET", "navigate")
        if named or (origin and origin.partition("://")[2] != host) or (site.endswith("-site") and not follows):
            raise RefusedError(403, "this is not for this studio: the page that asks is another's.")
        if self._password is None:
            return scope
        return self._known(scope, headers)

    def _known(self, scope: Message, headers: dict[str, str]) -> Message:
        """The request of somebody who has given the password, as Gradio knows them."""
        app, path, address = scope["app"], scope["path"], (scope.get("client") or ("",))[0]
        if path.rstrip("/") == "/login" or "authorization" in headers:
            if self._wrong.too_many(address):
                raise RefusedError(429, "too many wrong passwords came from your address; wait a minute.")
            if path.rstrip("/") == "/login":
                return scope
            if not is_right(*_credentials(headers["authorization"]), self._password or ""):
                self._wrong.note(address)
                raise RefusedError(401, "the password is wrong; the user is called studio.")
            app.tokens[self._token] = USER
            cookie = f"access-token-unsecure-{app.cookie_id}={self._token}".encode()
            others = [(name, value) for name, value in scope["headers"] if name.lower() != b"cookie"]
            return {**scope, "headers": [*others, (b"cookie", cookie)]}
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            cookies = SimpleCookie()
        given = [value.value for name, value in cookies.items() if name.endswith(app.cookie_id)]
        if path != "/" and not path.startswith(_OPEN) and not any(each in app.tokens for each in given):
            raise RefusedError(401, "a password is needed; log in at the page, or send it with every request.")
        return scope

    def _heard(self, scope: Message, status: int) -> None:
        if scope["path"].rstrip("/") == "/login" and status == 400:
            self._wrong.note((scope.get("client") or ("",))[0])


def is_right(user: str, given: str, password: str) -> bool:
    """Whether this is the user and the password, in the same time whatever is wrong."""
    told, wanted = (
        f"{name} {word}".encode("utf-8", "surrogatepass") for name, word in ((user, given), (USER, password))
    )
    return hmac.compare_digest(told, wanted)


class Tries:
    """Wrong passwords, by the address that they came from."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._at = clock, dict[str, deque[float]]()

    def note(self, address: str) -> None:
        """One more."""
        if len(self._at) > 10_000:
            self._at = {each: times for each, times in self._at.items() if times[-1] > self._clock() - WINDOW}
        self._at.setdefault(address, deque(maxlen=MOST_TRIES)).append(self._clock())

    def too_many(self, address: str) -> bool:
        """Whether no further one is looked at for now."""
        times = self._at.get(address, deque())
        return len(times) == MOST_TRIES and times[0] > self._clock() - WINDOW


def _credentials(given: str) -> tuple[str, str]:
    """User and password of an Authorization header, Basic or Bearer; empty ones for anything else."""
    kind, _, rest = given.partition(" ")
    if kind.lower() == "bearer":
        return USER, rest.strip()
    try:
        user, _, password = base64.b64decode(rest.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return (user, password) if kind.lower() == "basic" else ("", "")


def _with_ours(headers: list[tuple[bytes, bytes]], path: str) -> list[tuple[bytes, bytes]]:
    """What a browser is told of an answer; nothing that was uploaded or made may act as a page."""
    ours = dict(_HEADERS)
    if path.startswith("/gradio_api/file"):
        ours["content-security-policy"] += "; sandbox"
    kept = [(name, value) for name, value in headers if name.decode("latin-1").lower() not in ours]
    return [*kept, *((name.encode(), value.encode()) for name, value in ours.items())]


def is_local(host: str) -> bool:
    """Whether a name or an address is this machine's for itself alone; other names may mean any."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
