"""`keys` and `access-tokens`: key pairs are made, named and signed with. A private key is read or written, never shown."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from rowseal.claims import KeyFacts
from rowseal.cli.terminal import OK, Failed, Options, Terminal
from rowseal.configuration import Configuration, load
from rowseal.gate.keyring import Keys
from rowseal.grants import read_grant
from rowseal.holder import read_holder
from rowseal.keys import read_public_keys, thumbprint
from rowseal.private_keys import PrivateKey, read_private_key
from rowseal.signing import Signer

__all__ = ["ALGORITHMS", "Pair", "access_tokens", "create", "name_keys", "new_pair", "pair_files", "write_new"]

ALGORITHMS: Final = ("ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA")
_CURVES: Final[dict[str, ec.EllipticCurve]] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
_FACTS: Final = KeyFacts("named", "vizzly")
_RSA_BITS: Final = 3072  # as strong as P-256 (NIST SP 800-57 part 1, table 2)


@dataclass(frozen=True, slots=True)
class Pair:
    """Where the two halves of a key lie, and the RFC 7638 name of both."""

    private: Path
    public: Path
    thumbprint: str


def pair_files(folder: Path, prefix: str) -> tuple[Path, Path]:
    """The files of the private and the public half. Raises Failed for a prefix that is no beginning of a file name."""
    if not prefix or not prefix.isprintable() or Path(prefix).name != prefix:
        raise Failed("`--prefix` must be the beginning of a file name, without a folder: write that to `--out`")
    return folder / f"{prefix}-private.pem", folder / f"{prefix}-public.pem"


def new_pair(folder: Path, prefix: str, algorithm: str = "ES256") -> Pair:
    """Make a key pair and write it; nothing that exists is touched. Raises Failed or OSError."""
    private, public = pair_files(folder, prefix)
    for path in (private, public):
        if os.path.lexists(path):
            raise Failed(f"`{path}` exists already and is not overwritten: choose another `--prefix` or `--out`")
    key = _new_key(algorithm)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_new(private, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    try:
        write_new(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
    except OSError:
        private.unlink()
        raise
    return Pair(private, public, thumbprint(key.public_key()))


def create(options: Options, terminal: Terminal) -> int:
    """`keys create`: write a new key pair; nothing that exists is touched."""
    pair = new_pair(Path(options.out), options.prefix, options.algorithm)
    if options.json:
        written = {"private_key_file": str(pair.private), "public_key_file": str(pair.public)}
        terminal.facts({**written, "algorithm": options.algorithm, "thumbprint": pair.thumbprint})
        return OK
    terminal.say(f"private key  {pair.private}  (only you can read it; it belongs on the server that signs, and nowhere else)")
    terminal.say(f"public key   {pair.public}")
    terminal.say(f"algorithm    {options.algorithm}")
    terminal.say(f"thumbprint   {pair.thumbprint}")
    # what the configuration would take the key to sign with, unless it is told otherwise
    (usual,) = read_public_keys(pair.public.read_text(encoding="ascii"), facts=_FACTS)
    pinned = "" if usual.algorithm == options.algorithm else f", algorithm: {options.algorithm}"
    terminal.say(f"\nin datasets.yaml, under `tokens:` and `keys:`\n  - {{id: {options.prefix}, public_key_file: {pair.public.name}{pinned}}}")
    return OK


def name_keys(options: Options, terminal: Terminal) -> int:
    """`keys thumbprint`: the RFC 7638 name of each key in a file, which signers write as `kid`."""
    text = terminal.text("-", "the key") if options.file == "-" else terminal.file(options.file)
    if "PRIVATE KEY-----" in text:
        terminal.note("note: this is a private key; rowseal is given its public half, which has the same thumbprint")
        text = _public_half(text)
    found = read_public_keys(text, facts=_FACTS)
    if options.json:
        terminal.facts([{"thumbprint": key.thumbprint, "algorithm": key.algorithm} for key in found])
    for key in () if options.json else found:
        terminal.say(key.thumbprint)
    return OK


def access_tokens(options: Options, terminal: Terminal) -> int:
    """`access-tokens`: sign a dashboard access token and a data access token, as a host application would."""
    ids = "*" if options.data_set_ids == "*" else options.data_set_ids.split(",")
    filters = terminal.json(options.secure_filters, "--secure-filters")
    configuration = None if options.config is None else load(options.config)
    signer = Signer(
        _private_key(options.private_key, terminal),
        options.ttl,
        algorithm=options.algorithm,
        catalogs=None if configuration is None else configuration.catalogs,
        clock=terminal.clock,
    )
    tokens = signer.generate_tokens(
        user_reference=options.user_reference,
        data_set_ids=ids,
        secure_filters=filters,
        access_type=options.type,
        scope=options.scope,
        organisation_id=options.organisation_id,
        dashboard_id=options.dashboard_id,
        project_id=options.project_id,
        parent_dashboard_ids=None if options.parent_dashboard_ids is None else options.parent_dashboard_ids.split(","),
        parameters=None if options.parameters is None else terminal.json(options.parameters, "--parameters"),
        subject=options.subject,
        allowed_origins=None if options.allowed_origins is None else options.allowed_origins.split(","),
        dpop_thumbprint=options.dpop_thumbprint,
    )
    key = None if configuration is None else _require_accepted(tokens["dataAccessToken"], configuration, terminal)
    if ids == "*" and not any(filters.values()):
        if key is not None and not key.development and not options.full_access:
            terminal.confirm(
                f"the key `{key.id}` is not marked `development: true`, and this token grants every dataset without a filter",
                otherwise="name datasets and filters (`--data-set-ids`, `--secure-filters`), sign with a development key, or write `--full-access`",
            )
        terminal.note(
            "warning: this token grants every dataset without a filter, which some engines take as full read access: for development only\n"
            "         rowseal refuses each dataset that is not public, unless the key is marked `development: true`"
        )
    terminal.facts(tokens)
    return OK


def _require_accepted(token: str, configuration: Configuration, terminal: Terminal) -> KeyFacts:
    """The key that verifies the token. Raises TokenRefused where this configuration would: a token that nobody takes is not printed."""
    verifier = Keys(configuration.token_rules, configuration.limits, clock=terminal.clock).ring.body_verifier
    claims = verifier.verify(token, now=terminal.clock())
    rules = verifier.rules_of(claims)
    read_holder(claims.content, rules)
    return read_grant(claims, rules).key


def _private_key(path: str, terminal: Terminal) -> str:
    if path == "-":
        return terminal.text("-", "the private key")
    text = terminal.file(path)
    if os.name == "posix" and stat.S_IMODE(Path(path).stat().st_mode) & 0o077:
        terminal.note(f"warning: others on this machine may read `{path}`: chmod 600 it")
    return text


def _public_half(private: str) -> str:
    key = read_private_key(private).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def _new_key(algorithm: str) -> PrivateKey:
    if algorithm == "EdDSA":
        return Ed25519PrivateKey.generate()
    if algorithm in _CURVES:
        return ec.generate_private_key(_CURVES[algorithm])
    return rsa.generate_private_key(65537, _RSA_BITS)


def write_new(path: Path, content: bytes, mode: int) -> None:
    """Write a file that does not exist yet. Raises OSError, FileExistsError included."""
    # Created with its final mode: a chmod afterwards would leave a moment in which others could open it.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        try:
            file.write(content)
            file.flush()
        except OSError:
            path.unlink()
            raise
