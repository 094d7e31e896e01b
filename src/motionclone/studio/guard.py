"""What is refused before Gradio sees it: other sites that use a visitor's browser, and addresses to be fetched."""

from collections.abc import Awaitable, Callable, MutableMapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote, urlsplit

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Guard:
    """A layer around an ASGI app.

    A page of another site can send requests to this machine from the browser of whoever visits it, or have its own name
    lead here. So a `local` studio, which asks for no password, answers only under its own names, and to its own pages.
    And Gradio hands on what lies at any public address; here nothing but the studio's files is served.
    """

    def __init__(self, app: App, local: bool) -> None:
        self._app, self._local = app, local

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Hand a request on, or answer 403."""
        if scope["type"] == "http" and not self._welcome(scope):
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"not for this studio"})
            return
        await self._app(scope, receive, send)

    def _welcome(self, scope: Message) -> bool:
        if "file=http:" in (path := unquote(scope["path"]).lower().replace("file/", "file=")) or "file=https:" in path:
            return False
        headers = dict(scope["headers"])
        host, origin = (headers.get(name, b"").decode("latin-1") for name in (b"host", b"origin"))
        if not self._local:
            return True
        return is_local(urlsplit(f"//{host}").hostname or "") and origin.partition("://")[2] in ("", host)


def is_local(host: str) -> bool:
    """Whether a name or an address is this machine's for itself alone; other names may mean any."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
