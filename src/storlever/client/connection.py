"""What both clients tell the HTTP library, and hear from it."""

import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from storlever.client.call import API, Call, Raw
from storlever.client.decode import decoded
from storlever.client.errors import NotUnderstood, Unreachable
from storlever.client.shapes import Event

URL = "http://127.0.0.1:6543"
EVENTS = f"{API}/events"
SILENCE = 60.0
"""Seconds without a word, not even a comment, after which a stream of events is given up."""
NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
"""What the HTTP library raises when nothing of a request has left."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the service is, and who asks. Through `socket`, the host in `url` is not looked up."""

    url: str = URL
    socket: Path | None = None
    token: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    certificate: tuple[Path, Path] | None = None
    """Of a client: the certificate and its key."""
    timeout: float = 30.0

    def options(self) -> dict[str, Any]:
        """Of the HTTP library's client. It heeds no proxy of the environment: a token and passwords
        go where they are sent, and nowhere else. Raises OSError of the files, ValueError of the
        URL and the token."""
        headers = {"Authorization": f"Bearer {_sent(self.token)}"} if self.token else {}
        base = "http://localhost" if self.socket else _base(self.url)
        return {
            "base_url": base,
            "headers": {"Accept": "application/json", **headers},
            "timeout": self.timeout,
            "trust_env": False,
            "verify": self._tls() if base.startswith("https:") else True,
        }

    @property
    def place(self) -> str:
        """Where it is, for people; without what a URL may hold of a password."""
        if self.socket:
            return str(self.socket)
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    def unreachable(self, error: Exception, *, maybe_done: bool = False) -> Unreachable:
        """What the HTTP library raised, in our words."""
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                return Unreachable(f"{self.place}: {cause.verify_message}", barrier="certificate")
            if isinstance(cause, PermissionError):
                return Unreachable(f"{self.place}: {cause.strerror}", barrier="permission")
        said = str(error) or type(error).__name__
        return Unreachable(f"{self.place}: {said}", maybe_done=maybe_done)

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.certificate:
            context.load_cert_chain(*self.certificate)
        return context


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _sent(token: str) -> str:
    """Without blanks around it, such as the end of a file's line. What is told of any other one
    does not repeat it."""
    bare = token.strip()
    if not re.fullmatch("[!-~]+", bare):
        raise ValueError("the token must be of printable ASCII characters, without blanks")
    return bare


def _base(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{url} is no URL of a service: it must be like {URL}")
    return url


def request(call: Call[Any]) -> dict[str, Any]:
    """Arguments of the HTTP library's `request`."""
    headers = dict(call.headers)
    if call.body is not None:
        headers["Content-Type"] = "application/json"
    return {
        "method": call.method,
        "url": call.path,
        "params": dict(call.query),
        "headers": headers,
        "content": call.content,
    }


def raw(response: httpx2.Response) -> Raw:
    """Of one that was read."""
    return Raw(response.status_code, _headers(response.headers), response.content)


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def stream(last_event_id: str) -> dict[str, Any]:
    """Arguments of the HTTP library's `stream`, for the events after this one; "" for those from
    now on."""
    headers = {"Accept": "text/event-stream"}
    if last_event_id:
        headers["Last-Event-ID"] = last_event_id
    timeout = httpx2.Timeout(10.0, read=SILENCE)
    return {"method": "GET", "url": EVENTS, "headers": headers, "timeout": timeout}


def event(sent: httpx2.ServerSentEvent) -> Event:
    """Raises NotUnderstood."""
    try:
        data = sent.json()
    except ValueError:
        raise NotUnderstood("an event is no JSON") from None
    if not isinstance(data, dict):
        raise NotUnderstood("an event is no object")
    return decoded(Event, {**data, "id": sent.id, "type": sent.event, "data": data}, "event")
