"""Keys in every form in which people have them, on both sides: datasets.yaml and its variables, the signer and the command line."""

from __future__ import annotations

import base64
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat, PublicFormat

from place import OWN, Place, key, private_pem, public_pem
from rowseal import Signer, cli, errors
from rowseal.keys import KeyRefused

IDS = "SELECT order_id FROM orders ORDER BY order_id"

BREAKS: dict[str, Callable[[str], str]] = {
    "as written": str,
    "no last newline": str.strip,
    "a newline before": lambda pem: "\n" + pem,
    "CRLF": lambda pem: pem.replace("\n", "\r\n"),
    "one line with \\n": lambda pem: pem.strip().replace("\n", "\\n"),
    "one line with \\r\\n": lambda pem: pem.replace("\n", "\\r\\n"),
    "one line with blanks": lambda pem: pem.strip().replace("\n", " "),
    "indented": lambda pem: "".join(f"    {line}\n" for line in pem.splitlines()),
}


def answers(place: Place, change: Callable[[Any], object], signer: str = "shop") -> list[int]:
    """The orders that a token of this signer reads, under a configuration with this key in it."""

    def with_key(document: Any) -> None:
        entry = document["tokens"][0]["keys"][0]
        del entry["public_key"]
        change(entry)

    gate = place.gate(with_key)
    return [value for (value,) in gate.verify(place.token(signer=signer)).execute(IDS).rows]


def spki(name: str) -> str:
    return public_pem(name)


def pkcs1(name: str) -> str:
    return key(name).public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode()


# --- datasets.yaml -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", BREAKS)
@pytest.mark.parametrize(("form", "signer"), [(spki, "shop"), (spki, "RSA"), (pkcs1, "RSA")], ids=["SPKI of P-256", "SPKI of RSA", "PKCS #1"])
def test_a_public_key_in_the_file_in_a_variable_and_in_a_file_of_its_own(
    place: Place, monkeypatch: pytest.MonkeyPatch, broken: str, form: Callable[[str], str], signer: str
) -> None:
    pem = BREAKS[broken](form(signer))
    assert answers(place, lambda entry: entry.update(public_key=pem), signer) == [1, 2, 3]
    monkeypatch.setenv("SHOP_PUBLIC_KEY", pem)
    assert answers(place, lambda entry: entry.update(public_key="${SHOP_PUBLIC_KEY}"), signer) == [1, 2, 3]
    (place.folder / "public.pem").write_bytes(pem.encode())
    assert answers(place, lambda entry: entry.update(public_key_file="public.pem"), signer) == [1, 2, 3]


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("encode", [str, b64, lambda text: base64.encodebytes(text.encode()).decode()], ids=["plain", "base64", "base64 in lines"])
@pytest.mark.parametrize("broken", ["as written", "CRLF", "one line with \\n"])
def test_a_list_of_public_keys_in_one_variable(place: Place, monkeypatch: pytest.MonkeyPatch, broken: str, encode: Callable[[str], str]) -> None:
    """VIZZLY_PUBLIC_KEYS is base64 of a JSON list; any key of it verifies."""
    monkeypatch.setenv("VIZZLY_PUBLIC_KEYS", encode(json.dumps([BREAKS[broken](public_pem(name)) for name in ("other", "shop", "RSA")])))
    for signer in ("shop", "RSA"):
        assert answers(place, lambda entry: entry.update(public_keys="${VIZZLY_PUBLIC_KEYS}"), signer) == [1, 2, 3]
    with pytest.raises(errors.TokenRefused, match="signature_invalid"):
        answers(place, lambda entry: entry.update(public_keys="${VIZZLY_PUBLIC_KEYS}"), "stranger")


def certificate() -> str:
    return f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(b'x' * 99).decode()}\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (private_pem, "this is a PRIVATE key: take it off this machine"),
        (lambda: private_pem(form=PrivateFormat.TraditionalOpenSSL), "this is a PRIVATE key: take it off this machine"),
        (certificate, "write its public key (`openssl x509 -pubkey -noout`)"),
        (lambda: "s3cret", "a shared secret is not accepted, only public keys are"),
        (lambda: public_pem() * 2, "write each key as an entry of its own"),
        (lambda: public_pem()[:80], "this is not one whole PEM block"),
    ],
    ids=["private", "private, SEC 1", "certificate", "secret", "two", "half"],
)
def test_anything_else_stops_the_start_with_its_place_and_its_cure(place: Place, text: Callable[[], str], told: str) -> None:
    for source, value in (("public_key", text()), ("public_keys", json.dumps([public_pem("other"), text()]))):
        with pytest.raises(errors.Misconfigured) as found:
            answers(place, lambda entry, source=source, value=value: entry.update({source: value}))
        (problem,) = found.value.problems
        assert (problem.path, told in problem.message) == (f"tokens[0].keys[0].{source}", True)
        assert "MHc" not in str(problem)
        assert "s3cret" not in str(problem)


# --- the side that signs -----------------------------------------------------------------------------------------------------------------


def sec1_of_openssl() -> str:
    """As `openssl ecparam -genkey` writes it: the curve's name as a block before the key."""
    name = base64.b64encode(bytes.fromhex("06082a8648ce3d030107")).decode()
    return f"-----BEGIN EC PARAMETERS-----\n{name}\n-----END EC PARAMETERS-----\n{private_pem(form=PrivateFormat.TraditionalOpenSSL)}"


PRIVATE: dict[str, tuple[Callable[[], str], str]] = {
    "PKCS #8": (private_pem, "shop"),
    "SEC 1": (lambda: private_pem(form=PrivateFormat.TraditionalOpenSSL), "shop"),
    "SEC 1 with its curve": (sec1_of_openssl, "shop"),
    "PKCS #8 of RSA": (lambda: private_pem("RSA"), "RSA"),
    "PKCS #1": (lambda: private_pem("RSA", PrivateFormat.TraditionalOpenSSL), "RSA"),
}


@pytest.mark.parametrize("broken", BREAKS)
@pytest.mark.parametrize("form", PRIVATE)
def test_a_private_key_signs_whatever_its_form(place: Place, form: str, broken: str) -> None:
    make, name = PRIVATE[form]
    pem = BREAKS[broken](make())
    gate = place.gate(lambda document: document["tokens"][0]["keys"][0].update(public_key=public_pem(name)))
    given: dict[str, Any] = {"user_reference": "u", "project_id": "p", "data_set_ids": ["orders"], "secure_filters": {"orders": OWN}}
    for text in (pem, pem.encode(), "\ufeff" + pem):
        token = Signer(text).generate_tokens(**given)["dataAccessToken"]
        assert gate.verify(token).execute(IDS).rows == [(1,), (2,), (3,)]


@pytest.mark.parametrize("form", PRIVATE)
def test_the_command_line_takes_the_same_forms(place: Place, form: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.folder)
    file = place.folder / "key.pem"
    file.write_text(BREAKS["CRLF"](PRIVATE[form][0]()))
    file.chmod(0o600)
    monkeypatch.setattr("sys.argv", ["rowseal", "access-tokens", "-p", "p", "-u", "u", "--private-key", "key.pem"])
    assert cli.main() == 0
    assert list(json.loads(capsys.readouterr().out)) == ["dashboardAccessToken", "dataAccessToken"]
    monkeypatch.setattr("sys.argv", ["rowseal", "keys", "thumbprint", "key.pem"])
    assert cli.main() == 0
    assert len(capsys.readouterr().out.strip()) == 43


def wrong(name: str) -> str:
    made: dict[str, Callable[[], Any]] = {
        "curve": lambda: ec.generate_private_key(ec.SECP256K1()),
        "short": lambda: rsa.generate_private_key(65537, 1024),
        "password": ed25519.Ed25519PrivateKey.generate,
    }
    guard = BestAvailableEncryption(b"x") if name == "password" else NoEncryption()
    return str(made[name]().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, guard).decode())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (public_pem, "this is a public key, which signs nothing: write the private key that belongs to it"),
        (certificate, "this is a certificate, which signs nothing: write the private key that belongs to it"),
        (lambda: wrong("password"), "this private key is encrypted, and nobody is asked for its password: decrypt it (`openssl pkey -in key.pem`)"),
        (lambda: wrong("short"), "an RSA key of 1024 bits is not accepted: use 2048 to 8192 bits"),
        (lambda: wrong("curve"), "keys on the curve `secp256k1` are not accepted: use P-256, P-384, P-521, Ed25519 or RSA"),
        (lambda: "s3cret", "this is not one whole PEM block; write one PEM block `BEGIN PRIVATE KEY`"),
    ],
    ids=["public", "certificate", "encrypted", "short RSA", "curve", "secret"],
)
def test_a_key_that_cannot_sign_is_refused_in_one_sentence(text: Callable[[], str], told: str) -> None:
    with pytest.raises(KeyRefused) as found:
        Signer(text())
    assert str(found.value).startswith(told)
    assert "\n" not in str(found.value)


PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "keys.md"


def fences(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def shell(folder: Path, lines: str) -> None:
    """Run commands as the page shows them, with the `rowseal` of this checkout."""
    for line in lines.strip().splitlines():
        program, *arguments = shlex.split(line)
        command = [sys.executable, "-m", "rowseal.cli"] if program == "rowseal" else [program]
        subprocess.run([*command, *arguments], cwd=folder, check=True, capture_output=True)


def test_the_page_s_own_pair_signs_and_verifies(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/how-to/keys.md: the command, the three entries of datasets.yaml, the signer with its key from the environment."""
    create = fences("sh")[0]
    shell(place.folder, create)
    monkeypatch.setenv("PARTNER_PUBLIC_KEY", public_pem("other"))
    monkeypatch.setenv("VIZZLY_PUBLIC_KEYS", b64(json.dumps([public_pem("RSA")])))
    monkeypatch.setenv("SHOP_PRIVATE_KEY", (place.folder / "shop-private.pem").read_text().replace("\n", "\\n"))
    entries = fences("yaml")[0]
    gate = place.gate(lambda document: document.update(yaml.safe_load(entries)))
    (snippet,) = fences("python")
    names: dict[str, Any] = {}
    exec(compile(snippet, "keys.md", "exec"), names)
    tokens = names["signer"].generate_tokens(user_reference="u", project_id="p", data_set_ids=["orders"], secure_filters={"orders": OWN})
    for token, by in ((tokens["dataAccessToken"], "shop-2026"), (place.token(signer="other"), "partner"), (place.token(signer="RSA"), "dashboards")):
        access = gate.verify(token)
        assert (access.grant.key.id, access.execute(IDS).rows) == (by, [(1,), (2,), (3,)])


@pytest.mark.slow
def test_the_page_s_directory_takes_the_key_that_its_command_adds(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second entries of datasets.yaml, without the issuer, who is none; `add`, and the record that it shows."""
    shell(place.folder, fences("sh")[0])
    (place.folder / "keys").mkdir()
    entries = yaml.safe_load(fences("yaml")[1])
    team = entries["tokens"][0]["keys"][1]
    gate = place.gate(lambda document: document["tokens"][0]["keys"].append(team), watch_keys=False)
    shell(place.folder, fences("sh")[2])
    gate.refresh_keys()
    tokens = Signer((place.folder / "shop-private.pem").read_text()).generate_tokens(
        user_reference="u", project_id="p", data_set_ids=["orders"], secure_filters={"orders": OWN}
    )
    assert gate.verify(tokens["dataAccessToken"]).grant.key.id == "team/shop-2027"
    shown, written = json.loads(fences("json")[0]), json.loads((place.folder / "keys" / "shop-2027.json").read_text())
    assert shown.keys() - {"retire_at"} == written.keys()
    assert shown["key"].keys() == written["key"].keys()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_keys_that_openssl_makes_sign_and_verify(place: Place, tmp_path: Path) -> None:
    """Its two lines for OpenSSL, and its cure for an encrypted key."""
    shell(tmp_path, fences("sh")[1])
    shell(tmp_path, "openssl pkey -in shop-private.pem -aes256 -passout pass:x -out key.pem")
    with pytest.raises(KeyRefused, match="openssl pkey -in"):
        Signer((tmp_path / "key.pem").read_text())
    cure = re.search(r"`(openssl pkey -in key.pem -out plain.pem)`", PAGE.read_text(encoding="utf-8"))
    assert cure is not None
    shell(tmp_path, f"{cure[1]} -passin pass:x")
    gate = place.gate(lambda document: document["tokens"][0]["keys"][0].update(public_key=(tmp_path / "shop-public.pem").read_text()))
    for file in ("shop-private.pem", "plain.pem"):
        signer = Signer((tmp_path / file).read_bytes())
        tokens = signer.generate_tokens(user_reference="u", project_id="p", data_set_ids=["orders"], secure_filters={"orders": OWN})
        assert gate.verify(tokens["dataAccessToken"]).execute(IDS).rows == [(1,), (2,), (3,)]


def test_from_one_key_to_the_next_without_a_pause(place: Place) -> None:
    """Both hold while both stand there; afterwards the old one does not."""

    def keys(*names: str) -> Any:
        def change(document: Any) -> None:
            document["tokens"][0]["keys"] = [{"id": name, "public_key": public_pem(name)} for name in names]

        return change

    for signer in ("shop", "other"):
        assert place.gate(keys("shop", "other")).verify(place.token(signer=signer)).execute(IDS).rows
    with pytest.raises(errors.TokenRefused, match="signature_invalid"):
        place.gate(keys("other")).verify(place.token(signer="shop"))
