"""What a request brings: bounded before it is read, and no address in it that the server would fetch."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from motionclone.studio.clips import MOST_BYTES

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MOST_JSON = 4 * 2**20
_MOST_DRAINED = 2**30
_MOST_PARTS = 32 * 2**20  # of a form that is no upload, such as with a drawing


class RefusedError(Exception):
    """A request that is not handed on."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


async def checked(scope: Message, receive: Receive, folder: Path) -> Receive:
    """What to receive the rest of a request with, whose body is small enough and names no file but ours.

    Args:
        scope: of the request.
        receive: the rest of it.
        folder: of the studio, in which the files lie that may be named.

    Raises:
        RefusedError: it is too large, of unknown length, no JSON, or names a file that is elsewhere, or an address.
    """
    if scope["method"] in ("GET", "HEAD", "OPTIONS"):
        return receive
    headers = {name.lower(): value for name, value in scope["headers"]}
    kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
    path = scope["path"].rstrip("/")
    json_wanted = kind != b"multipart/form-data" and path != "/login"
    most = MOST_JSON if kind != b"multipart/form-data" else _MOST_PARTS
    if path == "/gradio_api/upload":
        most = MOST_BYTES + 2**20
    length = headers.get(b"content-length", b"0" if b"transfer-encoding" not in headers else b"")
    if not length.isdigit():
        raise RefusedError(411, "say how long the request is (content-length).")
    if int(length[:20]) > most:
        await _drained(receive)
        raise RefusedError(413, f"the request has {int(length[:20]) / 2**20:.0f} MB and {most >> 20} are taken.")
    if not json_wanted or int(length) == 0:
        return receive
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            break
    try:
        _check(json.loads(body), folder.resolve())
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, "the request is no JSON, or nested too deeply.") from error
    handed = False

    async def again() -> Message:
        nonlocal handed
        if handed:
            return await receive()
        handed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _drained(receive: Receive) -> None:
    """Read a body on, as most clients listen only when they have sent it; up to a bound."""
    left = _MOST_DRAINED
    while left > 0:
        message = await receive()
        left -= len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return


def _check(value: Any, folder: Path) -> None:
    """Refuse a file that is not one of the studio's; one that is given by an address Gradio would fetch."""
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            path = each.get("path")
            if isinstance(path, str) and ("meta" in each or "://" in path) and not _lies_in(path, folder):
                raise RefusedError(403, "files are uploaded: a path of this machine, or an address, is not taken.")
            left += each.values()
        elif isinstance(each, list):
            left += each


def _lies_in(path: str, folder: Path) -> bool:
    try:
        return Path(path).is_absolute() and Path(path).resolve().is_relative_to(folder)
    except (OSError, ValueError, RuntimeError):  # names that are none
        return False


async def answer(send: Send, status: int, sentence: str) -> None:
    """Say why something is not."""
    headers = [(b"content-type", b"application/json")]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="motionclone studio"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"detail": sentence}).encode()})
