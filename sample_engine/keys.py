"""The demo's ES256 key pair: the host application signs with the private one, rowseal is given the public one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

__all__ = ["FOLDER", "make_keys"]

FOLDER: Final = Path(__file__).parent / "keys"


def make_keys(folder: Path = FOLDER) -> Path:
    """Make `private.pem` (readable by its owner only) and `public.pem` unless both are there. Returns the path of the private key."""
    private, public = folder / "private.pem", folder / "public.pem"
    if private.exists() and public.exists():
        return private
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    private.unlink(missing_ok=True)
    # Created with its final mode: a chmod afterwards would leave a moment in which others could open it.
    with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private


if __name__ == "__main__":
    print(make_keys())
