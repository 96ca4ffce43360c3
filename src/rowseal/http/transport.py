"""What HTTP carries for us: where a token may stand in a request, and how a refusal looks in a response. Pure functions, no I/O.

Sources: RFC 9110 (header fields), RFC 6750 (bearer tokens), RFC 9449 (DPoP), RFC 9457 (problem details).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Final, TypeAlias
from urllib.parse import unquote_to_bytes

from rowseal.dpop import ALGORITHMS
from rowseal.errors import CODES, QueryRefused, Refused, TokenRefused
from rowseal.strict import Malformed, json_object, json_text

__all__ = [
    "BODY_FIELDS",
    "Headers",
    "OpenPaths",
    "header_tokens",
    "one_token",
    "problem",
    "problem_content",
    "route_path",
    "split_body",
    "split_headers",
    "split_query",
    "without_tokens",
]

Headers: TypeAlias = "Sequence[tuple[bytes, bytes]]"

# Where the dashboards of the `vizzly` profile put the data access token in a JSON body.
BODY_FIELDS: Final = ("identityConfigIntegritySignature", "integritySignature")
BODY_DEPTH: Final = 64  # levels of nesting in such a body

_SCHEME = re.compile(rb"(?:bearer|dpop)(?![!#$%&'*+.^_`|~0-9a-z-])", re.IGNORECASE)  # as a whole word
# RFC 9449 section 7.1
_PROOF_CODES: Final = {"proof_required": "invalid_token", "proof_refused": "invalid_dpop_proof", "proof_replayed": "invalid_dpop_proof"}
_VALUE = re.compile(rb"[\x21-\x7e]+")
# base64url of `{"...` begins so; only where a run of its letters begins, or a percent-escape ends, so that nothing is looked at twice
_JWS = re.compile(rb"(?:(?<![\w-])|(?<=%[0-9A-Fa-f]{2}))ey[\w-]{8,}\.[\w-]*\.[\w-]*")
_SEGMENT = re.compile(r"[A-Za-z0-9_~@.-]+")


def header_tokens(headers: Headers, *, auth_header: bool) -> list[str]:
    """Every token that the headers hold: `Authorization: Bearer <token>` (or `DPoP`), and `Auth: <token>` when `auth_header`.

    Another scheme is no token. Raises TokenRefused: `token_ambiguous` for a repeated header, `token_malformed` for anything
    but one space and one run of visible ASCII after the scheme.
    """
    found = []
    for value in _values(headers, b"authorization"):
        if scheme := _SCHEME.match(value):
            if value[scheme.end() : scheme.end() + 1] != b" ":
                raise TokenRefused("token_malformed", "the `Authorization` header is not `Bearer` or `DPoP`, one space and a token")
            found.append(_visible(value[scheme.end() + 1 :], "Authorization"))
    if auth_header:
        found += (_visible(value, "Auth") for value in _values(headers, b"auth"))
    return found


def one_token(found: Iterable[str], *, in_query: bool) -> str:
    """The one token of a request; the same one in several places counts once. Raises TokenRefused."""
    distinct = set(found)
    if len(distinct) > 1:
        raise TokenRefused("token_ambiguous")
    if not distinct:
        raise TokenRefused("token_in_query" if in_query else "token_missing")
    return distinct.pop()


def split_headers(headers: Headers, *, auth_header: bool) -> list[tuple[bytes, bytes]]:
    """The headers without those that carried a token or its proof."""
    dropped = {b"authorization", b"dpop", b"auth"} if auth_header else {b"authorization", b"dpop"}
    return [(name, value) for name, value in headers if name.lower() not in dropped]


def split_query(query: bytes) -> tuple[bytes, bool]:
    """The query string without tokens, and whether there was one: `access_token` (RFC 6750, 2.3) or whatever looks like a JWS.

    What remains is byte for byte as it was sent.
    """
    if not query:
        return query, False
    parts = query.split(b"&")
    kept = [part for part in parts if not _carries_token(part)]
    return b"&".join(kept), len(kept) < len(parts)


def _carries_token(part: bytes) -> bool:
    plain = unquote_to_bytes(part.replace(b"+", b" "))
    return plain.partition(b"=")[0].lower() == b"access_token" or _JWS.search(plain) is not None


def without_tokens(text: str) -> str:
    """The text for a log, with `...` for whatever looks like a JWS."""
    return _JWS.sub(b"...", text.encode("utf-8", "backslashreplace")).decode()


def split_body(body: bytes) -> tuple[bytes, list[str]]:
    """The JSON object without the members of `BODY_FIELDS`, and the tokens that these held.

    Nothing that cannot be read for certain gets through: QueryRefused `request_malformed` for what is no strict JSON object (see
    `strict.json_object`), TokenRefused `token_malformed` for a token that is no string.
    """
    if not body:
        return body, []
    try:
        content = json_object(body, depth=BODY_DEPTH)
    except Malformed:
        raise QueryRefused("request_malformed", "the body is not one strict JSON object") from None
    tokens = []
    for field in BODY_FIELDS:
        if field in content:
            token = content[field]
            if not isinstance(token, str) or not token:
                raise TokenRefused("token_malformed", f"`{field}` in the body is not a token")
            tokens.append(token)
    if not tokens:
        return body, []
    return json_text({name: value for name, value in content.items() if name not in BODY_FIELDS}).encode("ascii"), tokens


def _values(headers: Headers, wanted: bytes) -> list[bytes]:
    values = [value for name, value in headers if name.lower() == wanted]
    if len(values) > 1:
        raise TokenRefused("token_ambiguous", f"the request has more than one `{wanted.decode().title()}` header")
    return values


def _visible(token: bytes, header: str) -> str:
    if not _VALUE.fullmatch(token):
        raise TokenRefused("token_malformed", f"the `{header}` header does not hold exactly one token")
    return token.decode("ascii")


class OpenPaths:
    """Paths that need no token: exact ones, or everything below one with `/*` at the end (`/static/*` does not open `/static`).

    INVARIANT: a path is open only when there is exactly one way to read it. Percent-encoding, `//`, `.` and `..` segments, backslashes,
    semicolons and anything else that some router, proxy or file server might read differently leave a path closed.
    """

    __slots__ = ("_below", "_exact")

    def __init__(self, paths: Sequence[str]) -> None:
        if isinstance(paths, str):
            raise TypeError("paths: expected a list of strings")
        for path in paths:
            if not _unambiguous(path.removesuffix("/*") if path != "/*" else path):
                raise ValueError(f"`{path}` cannot be opened: write a plain path as `/health`, or `/static/*` for all below it")
        self._exact = frozenset(path for path in paths if not path.endswith("/*"))
        self._below = tuple(path[:-1] for path in paths if path.endswith("/*"))

    def opens(self, path: str, raw_path: bytes | None) -> bool:
        """`path` as the app's router sees it, decoded; `raw_path` as it came, if the server says."""
        named = path in self._exact or (self._below != () and path.startswith(self._below))
        return named and _unambiguous(path) and (raw_path is None or b"%" not in raw_path)


def _unambiguous(path: str) -> bool:
    if path == "/":
        return True
    segments = path.split("/")
    if segments[-1] == "" and len(segments) > 2:
        segments.pop()
    return segments[0] == "" and len(segments) > 1 and all(_SEGMENT.fullmatch(segment) and segment not in {".", ".."} for segment in segments[1:])


def route_path(path: str, root_path: str) -> str:
    """The path that the routes of an app mounted at `root_path` are compared with; empty when frameworks do not agree on it.

    Starlette takes `root_path` away where a slash follows, Django also where none does, Litestar wherever it stands: below an open `/static/*`
    such a framework might find another of its routes.
    """
    if root_path and (path == root_path or path.startswith(f"{root_path}/")):
        return path[len(root_path) :]
    return "" if root_path.strip("/") and root_path in path else path


def problem_content(refusal: Refused, *, request_id: str) -> dict[str, str | int]:
    """What a problem document says of a refusal."""
    content: dict[str, str | int] = {
        "type": f"urn:rowseal:problem:{refusal.code}",
        "title": CODES[refusal.code].means,
        "status": refusal.status,
        "code": refusal.code,
        "detail": refusal.detail,
        "hint": refusal.hint,
        "request_id": request_id,
    }
    if refusal.line is not None and refusal.column is not None:
        content |= {"line": refusal.line, "column": refusal.column}
    return content


def problem(refusal: Refused, *, request_id: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of the answer that a refusal becomes."""
    status = refusal.status
    body = json.dumps(problem_content(refusal, request_id=request_id), separators=(",", ":")).encode("ascii")
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-request-id", request_id.encode()),
    ]
    if challenge := _challenge(refusal):
        headers.append((b"www-authenticate", challenge))
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        headers.append((b"retry-after", str(getattr(refusal, "retry_after", 1)).encode()))
    elif status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append((b"retry-after", b"30"))
    return status, headers, body


def _challenge(refusal: Refused) -> bytes | None:
    """`WWW-Authenticate` (RFC 6750, 3): no error when no token came, and never a character that could end the quoted text."""
    if refusal.status not in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return None
    of_proof = refusal.code in _PROOF_CODES
    challenge = b'DPoP realm="rowseal"' if of_proof else b'Bearer realm="rowseal"'  # the scheme must be followed by a parameter
    if refusal.code == "token_missing":
        return challenge
    error = "invalid_token" if refusal.status == HTTPStatus.UNAUTHORIZED else "insufficient_scope"
    described = "".join(c if " " <= c <= "~" and c not in '"\\' else "?" for c in refusal.detail[:200])
    if of_proof:
        error, described = _PROOF_CODES[refusal.code], f'{described}", algs="{" ".join(ALGORITHMS)}'
    return challenge + f', error="{error}", error_description="{described}"'.encode("ascii")
