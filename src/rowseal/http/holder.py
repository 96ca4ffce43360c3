"""What a request says about who presents its token: the page's origin, and a DPoP proof. Pure functions, no I/O.

Sources: the Fetch standard (`Origin`), RFC 9449 section 7 (`Authorization: DPoP`, `DPoP`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from rowseal import dpop
from rowseal.errors import TokenRefused
from rowseal.holder import Presented
from rowseal.http.transport import Headers

__all__ = ["check_urls", "presented"]

_DPOP: Final = re.compile(rb"dpop ", re.IGNORECASE)


def check_urls(urls: Sequence[str]) -> tuple[str, ...]:
    """The addresses of `public_urls`, without a slash at the end. Raises ValueError for what is none."""
    if isinstance(urls, str):
        raise TypeError("public_urls: expected a list of strings")
    for url in urls:
        if dpop.address(url) is None or "?" in url or "#" in url:
            raise ValueError(f"`{url}` is no address of this server: write scheme and host as clients do, like `https://data.example.com`")
    return tuple(url.rstrip("/") for url in urls)


def presented(headers: Headers, *, method: str, path: str, raw_path: bytes | None, public_urls: Sequence[str]) -> Presented | None:
    """How the token of these headers came; None where they say nothing of it. Raises TokenRefused: proof_required or proof_refused.

    A proof belongs to a token in `Authorization: DPoP`, and to no other. `Origin` counts only where it stands once.
    """
    origins: list[bytes] = []
    authorizations: list[bytes] = []
    proofs: list[bytes] = []
    wanted = {b"origin": origins, b"authorization": authorizations, b"dpop": proofs}
    for name, value in headers:
        if (values := wanted.get(name.lower())) is not None:
            values.append(value)
    origin = origins[0].decode("latin-1") if len(origins) == 1 else None
    if not any(_DPOP.match(value) for value in authorizations):
        return None if origin is None else Presented(origin=origin)
    if not proofs:
        raise TokenRefused("proof_required", "the request has no `DPoP` header")
    if len(proofs) > 1:
        raise TokenRefused("proof_refused", "the request has more than one `DPoP` header")
    asked = quote(path, safe="/") if raw_path is None else raw_path.decode("latin-1")
    # INVARIANT: the address is what the operator wrote. `Host` is the sender's: a proof made for another server would come with that server's name.
    return Presented(origin, proofs[0].decode("latin-1"), method, tuple(f"{url}{asked}" for url in public_urls))
