"""A key set that somebody publishes over HTTPS: fetched within bounds of size and time, and from nowhere else."""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from rowseal.keys.types import KeyRefused

__all__ = ["Fetched", "Unfetched", "check_url", "fetch"]

BODY_BYTES: Final = 512_000
_PIECE: Final = 16_384
_MAX_AGE: Final = re.compile(r"(?:^|[\s,])max-age\s*=\s*\"?(\d{1,9})", re.IGNORECASE)
_AT_ONCE: Final = re.compile(r"(?:^|[\s,])no-(?:store|cache)(?:$|[\s,=])", re.IGNORECASE)
_SENT: Final = {"accept": "application/jwk-set+json, application/json", "accept-encoding": "identity", "user-agent": "rowseal", "connection": "close"}


class Unfetched(Exception):
    """There is no document. The message says why, and holds nothing of what came."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A document as it came. `max_age`: for how many seconds it calls itself fresh; None where it does not say."""

    content: bytes
    max_age: float | None


def check_url(url: str, *, development: bool) -> str:
    """The URL itself, if keys may be fetched from it. Raises KeyRefused."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, SplitResult("", "", "", "", "")
    if not host or port == 0 or not url.isascii() or not url.isprintable() or " " in url:
        raise KeyRefused("this is no URL: write such as `https://issuer.example/.well-known/jwks.json`")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise KeyRefused("the URL of a key set has no user, no password and no fragment")
    if parts.scheme == "https":
        return url
    if parts.scheme != "http":
        raise KeyRefused("keys are fetched by https alone")
    if not is_loopback(host):
        raise KeyRefused("whoever is between could put keys of their own into an answer by http: write https")
    if not development:
        raise KeyRefused("keys are fetched by http from this machine for development alone: write https, or `development: true` at the key")
    return url


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def fetch(url: str, *, timeout: float) -> Fetched:
    """Get the document. Raises Unfetched: also for every redirect, every status but 200, and what is larger than 512 kB or takes too long.

    `timeout` is in seconds, for all of it together but the look-up of the name.
    """
    ends = time.monotonic() + timeout
    connection = _connection(urlsplit(url), timeout)
    # A socket's own timeout is for each piece. This one ends all of them, however slowly they come.
    opened: list[socket.socket] = []
    watchdog = threading.Timer(timeout, _cut, [connection, opened])
    watchdog.daemon = True
    watchdog.start()
    try:
        connection.connect()
        opened.append(connection.sock)  # http.client forgets it as soon as the head is there
        return _answer(connection, urlsplit(url), ends)
    except Unfetched:
        raise
    except TimeoutError:
        raise Unfetched("the answer takes too long") from None
    except ssl.SSLCertVerificationError:
        raise Unfetched("the certificate is not one that this machine trusts for this name") from None
    except OSError as error:
        raise Unfetched("the answer takes too long" if time.monotonic() >= ends else f"it cannot be reached ({type(error).__name__})") from None
    except (http.client.HTTPException, ValueError, AttributeError) as error:
        # AttributeError: http.client's own, where the watchdog closed what it reads
        raise Unfetched("the answer takes too long" if time.monotonic() >= ends else f"the answer is no HTTP ({type(error).__name__})") from None
    finally:
        watchdog.cancel()
        connection.close()


def _answer(connection: http.client.HTTPConnection, parts: SplitResult, ends: float) -> Fetched:
    if time.monotonic() >= ends:  # INVARIANT: else the watchdog has not run out yet, and has what it will cut
        raise Unfetched("the answer takes too long")
    connection.request("GET", f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/", headers=_SENT)
    with closing(connection.getresponse()) as answer:
        if answer.status != 200:
            raise Unfetched(f"the answer has the status {answer.status}")
        if (answer.getheader("content-encoding") or "identity").lower() != "identity":
            raise Unfetched("the answer is compressed, and nobody asked for that")
        content = bytearray()
        while piece := answer.read1(_PIECE):
            content += piece
            if len(content) > BODY_BYTES:
                raise Unfetched(f"the answer is larger than {BODY_BYTES} bytes")
        if time.monotonic() >= ends:  # what was cut looks as if it had ended
            raise Unfetched("the answer takes too long")
        if answer.length:
            raise Unfetched("the answer ends before its end")
        return Fetched(bytes(content), _max_age(answer.headers.get_all("cache-control") or []))


def _connection(parts: SplitResult, timeout: float) -> http.client.HTTPConnection:
    host, port = parts.hostname or "", parts.port
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=timeout)
    trusted = ssl.create_default_context()
    proxy = None if proxy_bypass(host) else getproxies().get("https")
    if not proxy:
        return http.client.HTTPSConnection(host, port, timeout=timeout, context=trusted)
    through = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    connection = http.client.HTTPSConnection(through.hostname or "", through.port or 8080, timeout=timeout, context=trusted)
    connection.set_tunnel(host, port or 443)
    return connection


def _cut(connection: http.client.HTTPConnection, opened: list[socket.socket]) -> None:
    with suppress(OSError, AttributeError):  # it may be closed already, or not be open yet
        (opened[0] if opened else connection.sock).shutdown(socket.SHUT_RDWR)


def _max_age(values: list[str]) -> float | None:
    said = ", ".join(values)
    if _AT_ONCE.search(said):
        return 0.0
    found = _MAX_AGE.search(said)
    return float(found[1]) if found else None
