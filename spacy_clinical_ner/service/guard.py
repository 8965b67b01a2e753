"""What holds for every request, whatever it asks for: its size, its headers, and that nothing of it is ever logged."""

from __future__ import annotations

import logging
from typing import Any, Awaitable, Callable, List, MutableMapping, Optional

from starlette.responses import JSONResponse

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
# Of a body that is too large, so much is read on: a client that is cut off while it sends never sees the answer.
_READ_ON = 20


class Guard:
    """ASGI middleware. max_bytes: of a request's body; with more, the answer is 413."""

    def __init__(self, app: Any, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, with `HEADERS`. What goes wrong unforeseen is 500, and logged by its kind alone."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        begun = False

        async def headed(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *own]}
            await send(message)

        body = await self._body(receive)
        if body is None:
            words = f"the body is larger than {self.max_bytes:,} bytes: send fewer notes at a time (--max-bytes)"
            return await JSONResponse({"detail": words}, 413)(scope, receive, headed)
        try:
            await self.app(scope, _again(body, receive), headed)
        except Exception as error:  # its message, and the variables of its traceback, may hold a note
            logging.getLogger(__name__).error("a request failed: %s", type(error).__name__)
            if not begun:
                await JSONResponse({"detail": "the service failed on this request"}, 500)(scope, receive, headed)

    async def _body(self, receive: Receive) -> Optional[bytes]:
        """The whole body, or None if it is too large."""
        parts: List[bytes] = []
        size, more = 0, True
        while more and size <= _READ_ON * self.max_bytes:
            message = await receive()
            more = message["type"] == "http.request" and message.get("more_body", False)
            size += len(message.get("body", b""))
            if size <= self.max_bytes:
                parts.append(message.get("body", b""))
        return b"".join(parts) if size <= self.max_bytes else None


def _again(body: bytes, receive: Receive) -> Receive:
    """What `receive` would give, the body being one message."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message
