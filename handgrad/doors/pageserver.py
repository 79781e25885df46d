"""Serves one page and its changes to the browser of whoever runs it, on this machine only.

What protects it: it listens on 127.0.0.1, its address holds a secret, it answers GET only and changes
nothing, and it looks at Host and Origin, so that no other site's script can ask through a name of its own.
"""

import asyncio
import hmac
import json
import secrets
from collections.abc import Mapping

from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler

_HOST = "127.0.0.1"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",  # the page's own says the rest
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class PageServer:
    """The page as it is now, and what was last said of it, for any number of browsers."""

    def __init__(self) -> None:
        self.page = ""
        self._said = ""
        self._token = secrets.token_urlsafe(24)
        self.listeners: set[asyncio.Queue[str]] = set()
        routes = [
            (r"/([^/]*)/", _Page, {"server": self}),
            (r"/([^/]*)/events", _Events, {"server": self}),
        ]
        self._http = HTTPServer(Application(routes, log_function=lambda _: None))
        self._sockets = bind_sockets(0, _HOST)
        self._port = self._sockets[0].getsockname()[1]

    @property
    def address(self) -> str:
        """Where the page is; whoever knows it may read it."""
        return f"{self.origin}/{self._token}/"

    @property
    def origin(self) -> str:
        return f"http://{_HOST}:{self._port}"

    def admits(self, token: str, host: str, origin: str) -> bool:
        """Whether a request comes from the page's own address."""
        right = hmac.compare_digest(token.encode(), self._token.encode())
        return right and f"http://{host}" == self.origin == origin

    def start(self) -> None:
        """Listen, in the running event loop."""
        self._http.add_sockets(self._sockets)

    async def stop(self) -> None:
        """Hang up on everybody."""
        self._http.stop()
        await self._http.close_all_connections()

    def tell(self, event: Mapping[str, object], page: str) -> None:
        """Show this page from now on, and tell all browsers of it."""
        self.page, self._said = page, json.dumps(event)
        for listener in self.listeners:
            listener.put_nowait(self._said)

    def listen(self) -> "asyncio.Queue[str]":
        """A new listener, who is told at once how things stand."""
        listener: asyncio.Queue[str] = asyncio.Queue()
        listener.put_nowait(self._said)
        self.listeners.add(listener)
        return listener


class _Guarded(RequestHandler):
    """Answers those requests only that the server admits."""

    SUPPORTED_METHODS = ("GET",)

    def initialize(self, server: PageServer) -> None:
        self._server = server

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        for name, value in _HEADERS.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        origin = self.request.headers.get("Origin", self._server.origin)
        if not self._server.admits(self.path_args[0], self.request.host, origin):
            raise HTTPError(403)


class _Page(_Guarded):
    def get(self, _: str) -> None:
        self.finish(self._server.page)


class _Events(_Guarded):
    """What is told, as server-sent events, until the browser hangs up."""

    async def get(self, _: str) -> None:
        self.set_header("Content-Type", "text/event-stream")
        self._listener = self._server.listen()
        try:
            while said := await self._listener.get():
                self.write(f"data: {said}\n\n")
                await self.flush()
        except StreamClosedError:
            pass  # it hung up while it was written to
        finally:
            self._server.listeners.discard(self._listener)

    def on_connection_close(self) -> None:
        if hasattr(self, "_listener"):
            self._listener.put_nowait("")
