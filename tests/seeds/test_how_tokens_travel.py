"""Tokens: two kinds from one signer, where each belongs, how long it lives, and the claims of earlier years."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from asgi import ask
from place import OWN, Place, private_pem
from rowseal import errors

IDS = "SELECT order_id FROM orders ORDER BY order_id"
BODY = json.dumps({"sql": IDS}).encode()


def bearer(token: str) -> list[tuple[str, str]]:
    return [("Authorization", f"Bearer {token}")]


def refusal(place: Place, token: str, **more: Any) -> errors.TokenRefused:
    with pytest.raises(errors.TokenRefused) as found:
        place.gate(**more).verify(token)
    return found.value


# --- two kinds ---------------------------------------------------------------------------------------------------------------------------


def test_a_signer_makes_two_tokens_under_two_names(place: Place) -> None:
    tokens, gate = place.tokens(), place.gate()
    assert list(tokens) == ["dashboardAccessToken", "dataAccessToken"]
    assert gate.verify(tokens["dataAccessToken"]).execute(IDS).rows == [(1,), (2,), (3,)]
    assert gate.verify_dashboard(tokens["dashboardAccessToken"]).user_reference == "user 7"


def test_the_dashboard_token_sent_by_mistake_is_recognised_and_the_right_one_is_named(place: Place) -> None:
    tokens = place.tokens()
    found = refusal(place, tokens["dashboardAccessToken"])
    assert (found.code, found.hint) == ("token_kind", "send the `dataAccessToken`")
    assert "this is a dashboard access token" in found.detail
    assert place.gate().verify(tokens["dataAccessToken"])
    with pytest.raises(errors.TokenRefused) as other_way:
        place.gate().verify_dashboard(tokens["dataAccessToken"])
    assert (other_way.value.code, other_way.value.hint) == ("token_kind", "send the `dashboardAccessToken`")
    assert place.gate().verify_dashboard(tokens["dashboardAccessToken"])


@pytest.mark.parametrize(
    ("claims", "kind"),
    [
        ({"allowDatabaseSchemaAccess": True, "allowDataPreviewAccess": False}, "a query engine access token"),
        ({"resources": [{"id": "prj_1", "scope": "read_write"}]}, "a project access token"),
        ({"sub": "user 7", "nonce": "n"}, "the token of a login"),
    ],
)
def test_no_other_token_of_the_host_opens_rows(place: Place, claims: dict[str, Any], kind: str) -> None:
    found = refusal(place, place.sign(dataSetIds=..., secureFilters=..., **claims))
    assert (found.code, kind in found.detail) == ("token_kind", True)


@pytest.mark.parametrize(
    ("access_type", "scope", "may_write", "may_manage"),
    [("standard", "read", False, False), ("standard", "read_write", True, False), ("admin", "read", False, False), ("admin", "read_write", True, True)],
)
def test_the_access_type_and_the_scope_say_who_changes_dashboards(place: Place, access_type: str, scope: str, *, may_write: bool, may_manage: bool) -> None:
    access = place.gate().verify_dashboard(place.tokens(access_type=access_type, scope=scope)["dashboardAccessToken"])
    assert (access.can_write(), access.can_manage()) == (may_write, may_manage)


def test_editor_is_the_older_word_for_admin(place: Place) -> None:
    """A signer of ours writes today's word; a token that has the older one permits the same."""
    access = place.gate().verify_dashboard(place.tokens(access_type="editor")["dashboardAccessToken"])
    assert (access.access_type, access.can_manage()) == ("admin", True)
    older = place.sign(dataSetIds=..., secureFilters=..., accessType="editor", scope="read_write", organisationId="org_1", userReference="user 7")
    access = place.gate().verify_dashboard(older)
    assert (access.access_type, access.can_manage()) == ("editor", True)


def test_neither_access_type_nor_scope_says_anything_about_rows(place: Place) -> None:
    """An administrator reads what the token's filters allow, and nothing more."""
    gate = place.gate()
    for over in ({"access_type": "admin"}, {"scope": "read"}, {}):
        assert gate.verify(place.token(**over)).execute(IDS).rows == [(1,), (2,), (3,)]


# --- in a request ------------------------------------------------------------------------------------------------------------------------


def test_the_token_travels_in_the_authorization_header(place: Place) -> None:
    answer = ask(place.app(), "/query", headers=bearer(place.token()), body=BODY)
    assert (answer.status, json.loads(answer.body)) == (200, [[1], [2], [3]])


@pytest.mark.parametrize("field", ["identityConfigIntegritySignature", "integritySignature"])
def test_it_travels_in_the_vendor_s_body_field_where_that_is_configured(place: Place, field: str) -> None:
    body = json.dumps({"sql": IDS, field: place.token()}).encode()
    assert json.loads(ask(place.app(body_token_paths=["/query"]), "/query", body=body).body) == [[1], [2], [3]]
    assert ask(place.app(), "/query", body=body).code == "token_missing"


def test_it_travels_in_the_auth_header_where_that_is_configured(place: Place) -> None:
    headers = [("Auth", place.token())]
    assert json.loads(ask(place.app(auth_header=True), "/query", headers=headers, body=BODY).body) == [[1], [2], [3]]
    assert ask(place.app(), "/query", headers=headers, body=BODY).code == "token_missing"


def test_two_tokens_that_differ_are_refused(place: Place) -> None:
    one, other = place.token(), place.token(secure_filters={"orders": [[{"field": "user_id", "op": "=", "value": 8}]]})
    app = place.app(auth_header=True)
    assert ask(app, "/query", headers=[*bearer(one), ("Auth", other)], body=BODY).code == "token_ambiguous"
    assert ask(app, "/query", headers=[*bearer(one), ("Auth", one)], body=BODY).status == 200


@pytest.mark.parametrize("name", ["token", "access_token", "_vizzlyDashboardAdmin"])
def test_a_token_in_the_url_is_refused_and_called_leaked(place: Place, name: str) -> None:
    token = place.token()
    answer = ask(place.app(), "/query", query=f"{name}={token}".encode(), body=BODY)
    assert (answer.status, answer.code) == (401, "token_in_query")
    assert "treat the one in the URL as leaked" in json.loads(answer.body)["hint"]
    assert token.encode() not in answer.body


@pytest.mark.slow
def test_what_access_tokens_prints_is_piped_straight_in(place: Place) -> None:
    """The command prints exactly the two tokens; `query` and `inspect` read that object and take the right one."""
    (place.folder / "private.pem").write_text(private_pem())
    (place.folder / "private.pem").chmod(0o600)
    place.gate()

    def rowseal(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "rowseal.cli", *arguments]
        return subprocess.run(command, cwd=place.folder, input=stdin, capture_output=True, text=True, check=False)

    named = ("-p", "prj_shop", "-u", "user 7", "-t", "standard", "-pk", "private.pem")
    printed = rowseal("access-tokens", *named, "--data-set-ids", "orders", "--secure-filters", json.dumps({"orders": OWN}))
    assert (printed.returncode, printed.stderr, list(json.loads(printed.stdout))) == (0, "", ["dashboardAccessToken", "dataAccessToken"])
    answered = rowseal("query", "--token", "-", "--json", IDS, stdin=printed.stdout)
    assert json.loads(answered.stdout)["rows"] == [[1], [2], [3]]
    assert rowseal("inspect", "-", "--config", "datasets.yaml", stdin=printed.stdout).returncode == 0
    whole = refusal(place, printed.stdout)
    assert (whole.code, whole.hint) == ("token_kind", "send the value of its member `dataAccessToken`")

    full = rowseal("access-tokens", "-o", "org_1", "-d", "dsh_1", "-u", "user 7", "-t", "editor", "--private-key", "private.pem")
    assert list(json.loads(full.stdout)) == ["dashboardAccessToken", "dataAccessToken"]
    assert "full read access" in full.stderr


# --- how long it lives -------------------------------------------------------------------------------------------------------------------


def test_a_token_ends_at_its_moment_and_an_access_with_it(place: Place) -> None:
    now = time.time()
    moments = {"now": now}
    gate = place.gate(clock=lambda: moments["now"])
    access = gate.verify(place.token(clock=lambda: now, minutes=10))
    moments["now"] = now + 599
    assert access.execute(IDS).rows
    moments["now"] = now + 600
    for use in (lambda: access.execute(IDS), lambda: access.secure(IDS), lambda: asyncio.run(access.aexecute(IDS))):
        with pytest.raises(errors.TokenRefused, match="token_expired"):
            use()


def stamp(minutes: float, zone: timezone = UTC) -> datetime:
    return datetime.now(zone) + timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("written", "code"),
    [
        (lambda: stamp(10).isoformat(timespec="milliseconds").replace("+00:00", "Z"), None),
        (lambda: stamp(10, timezone(timedelta(hours=5, minutes=30))).isoformat(), None),
        (lambda: stamp(10).replace(tzinfo=None).isoformat(), "claim_invalid"),
        (lambda: stamp(10).date().isoformat(), "claim_invalid"),
        (lambda: "soon", "claim_invalid"),
        (lambda: None, "claim_invalid"),
        (lambda: ..., "expiry_missing"),
        (lambda: stamp(-1).isoformat(), "token_expired"),
        (lambda: stamp(15 * 1440).isoformat(), "lifetime_too_long"),
    ],
    ids=["Z", "offset", "no offset", "a day", "words", "null", "absent", "past", "minutes taken for days"],
)
def test_expires_is_a_moment_with_its_offset(place: Place, written: Any, code: str | None) -> None:
    token = place.sign(expires=written(), exp=...)
    if code is None:
        assert place.gate().verify(token)
    else:
        assert refusal(place, token).code == code


def test_the_signer_that_takes_minutes_for_days_is_found_out(place: Place) -> None:
    assert "some signers count minutes as days" in refusal(place, place.sign(exp=int(time.time()) + 20 * 86_400)).hint


# --- the claims of earlier years ---------------------------------------------------------------------------------------------------------


def test_the_identity_of_2022_was_no_token_at_all(place: Place) -> None:
    identity = {
        "userReference": "user 7",
        "userType": "editor",
        "dataSets": "*",
        "secureFilters": {},
        "integritySignature": "x",
        "expires": "2022-09-01T00:00:00Z",
    }
    assert refusal(place, json.dumps(identity)).code == "token_malformed"
    signed = refusal(place, place.sign(dataSetIds=..., dataSets="*", userType="editor"))
    assert (signed.code, signed.hint) == ("claim_invalid", "`dataSets` is the claim of 2022: sign the ids as `dataSetIds`")


def test_a_filter_signed_by_itself_opens_nothing(place: Place) -> None:
    """The first generation signed each filter alone, and let the query say what it read."""
    found = refusal(place, place.sign(dataSetIds=..., secureFilters=..., filter={"field": "user_id", "op": "=", "value": 7}))
    assert (found.code, found.hint) == ("claim_invalid", "a filter signed by itself is of 2022: sign `dataSetIds` and `secureFilters` in one token")


def test_tokens_before_projects_and_parameters_are_read_as_ever(place: Place) -> None:
    """Organisation instead of project; `parameters` absent, or null as one signer writes it."""
    for over in ({"organisationId": "org_1"}, {"parameters": None}, {"projectId": "prj_1", "parameters": {}}):
        assert place.gate().verify(place.sign(**over)).execute(IDS).rows == [(1,), (2,), (3,)]


def test_a_header_with_and_without_kid_and_typ_is_read(place: Place) -> None:
    """One of the vendor's signers writes a thumbprint as `kid` and no `typ`, the other the contrary."""
    ours = json.loads(base64.urlsafe_b64decode(place.token().split(".")[0] + "=="))
    assert ours.keys() == {"alg", "kid"}
    theirs = place.sign()
    assert json.loads(base64.urlsafe_b64decode(theirs.split(".")[0] + "==")).keys() == {"alg", "typ"}
    for token in (place.token(), theirs, place.sign(header={"kid": "shop"})):
        assert place.gate().verify(token)


_REAL = Path(os.environ.get("ROWSEAL_SHARED") or Path(__file__).resolve().parents[3] / "shared") / "interop"


@pytest.mark.skipif(not (_REAL / "real_vizzly_tokens.txt").is_file(), reason="the vendor's tokens of 2023 stand beside the checkout, or nowhere")
def test_the_vendor_s_own_tokens_of_2023_are_what_they_were(place: Place) -> None:
    """Signed by the vendor's library: good in their hour for what they are, and expired since."""
    pem = (_REAL / "vizzly_python_public.pem").read_text()
    tokens = [word for word in (_REAL / "real_vizzly_tokens.txt").read_text().split() if word.count(".") == 2 and word.startswith("ey")]
    hour = datetime(2023, 8, 22, 17, 0, tzinfo=UTC).timestamp()

    def theirs(document: Any) -> None:
        document["tokens"][0]["keys"][0].update(public_key=pem, development=True)  # its private half is published, so it is for nothing else

    then = place.gate(theirs, clock=lambda: hour)
    kinds = []
    for token in tokens:
        for verify in (then.verify, then.verify_dashboard):
            try:
                kinds.append(type(verify(token)).__name__)
            except errors.TokenRefused as refused:
                kinds.append(refused.code)
    assert sorted(kinds) == sorted(["Access", "token_kind", "DashboardAccess", "token_kind", "token_kind", "token_kind"])
    now = place.gate(theirs)
    for token in tokens:
        with pytest.raises(errors.TokenRefused, match="token_expired"):
            now.verify(token)
