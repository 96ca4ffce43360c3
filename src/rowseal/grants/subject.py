"""Whom a token is for, for every profile: by that name its tokens can be revoked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rowseal.claims import Json
from rowseal.errors import TokenRefused
from rowseal.mapping import ClaimPath, found, shown

__all__ = ["read_subject"]

SUBJECT_LENGTH: Final = 256  # characters


def read_subject(content: Mapping[str, Json], path: ClaimPath) -> str:
    """What stands at the path: a text, or a whole number as text. Raises TokenRefused: claim_invalid.

    INVARIANT: where the configuration says where a subject stands, each token has one. Who could leave it out could not be revoked.
    """
    _, value = found(content, path)
    subject = str(value) if isinstance(value, str) or type(value) is int else ""
    if not 0 < len(subject) <= SUBJECT_LENGTH:
        wanted = f"a text of 1 to {SUBJECT_LENGTH} characters, or a whole number"
        raise TokenRefused("claim_invalid", f"`{shown(path)}` of the token must say whom it is for: {wanted}")
    return subject
