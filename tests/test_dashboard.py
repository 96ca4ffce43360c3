"""Dashboard access tokens: what they say, what follows from it, and that they are judged as strictly as those for data."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from asgi import Front
from place import public_pem
from rowseal import DashboardAccess, errors
from rowseal.gate import Gate
from rowseal.grants import DASHBOARD_PROFILES, PROFILES
from rowseal.signing import Signer, SigningRefused

NOW = 1_800_000_000.0
SAID = {"accessType": "standard", "projectId": "prj_1", "userReference": "p1", "scope": "read_write", "expires": "2027-01-15T08:10:00Z"}


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    made = Front(tmp_path)
    yield made
    made.gate.close()


@pytest.fixture
def gate(front: Front, tmp_path: Path, clock: Clock) -> Iterator[Gate]:
    made = Gate.from_yaml(tmp_path / "datasets.yaml", clock=clock)
    yield made
    made.close()


def token(front: Front, **over: Any) -> str:
    claims = {name: value for name, value in (SAID | over).items() if value is not ...}
    return jwt.encode(claims, front._key, algorithm="ES256")


def refused(gate: Gate, sent: str) -> errors.TokenRefused:
    with pytest.raises(errors.TokenRefused) as found:
        gate.verify_dashboard(sent)
    return found.value


# --- what it says ------------------------------------------------------------------------------------------------------------------------


def test_an_access_holds_what_was_signed(front: Front, gate: Gate) -> None:
    access = gate.verify_dashboard(token(front, parentDashboardIds=["dsh_1", "dsh_2"], dashboardId="dsh_0", organisationId="org_1"))
    assert (access.access_type, access.scope, access.user_reference) == ("standard", "read_write", "p1")
    assert (access.project_id, access.organisation_id, access.dashboard_id) == ("prj_1", "org_1", "dsh_0")
    assert access.parent_dashboard_ids == {"dsh_1", "dsh_2"}
    assert access.expires_at == NOW + 600
    assert access.key.id == "front"


def test_the_first_generation_names_an_organisation_and_no_scope(front: Front, gate: Gate) -> None:
    """As the vendor's signers of 2022 and 2023 wrote it; what was not said permits the least."""
    access = gate.verify_dashboard(token(front, projectId=..., scope=..., organisationId="org_1", dashboardId="dsh_1", accessType="editor"))
    assert (access.access_type, access.scope, access.project_id, access.organisation_id) == ("editor", None, None, "org_1")
    assert access.covers("dsh_1")
    assert not access.can_write()
    assert not access.can_manage()


@pytest.mark.parametrize(
    ("kind", "scope", "writes_and_manages"),
    [
        ("standard", "read", (False, False)),
        ("standard", "read_write", (True, False)),
        ("admin", "read", (False, False)),
        ("admin", "read_write", (True, True)),
        ("editor", "read_write", (True, True)),
        ("admin", ..., (False, False)),
    ],
)
def test_what_is_said_and_what_it_permits_are_kept_apart(front: Front, gate: Gate, kind: str, scope: Any, writes_and_manages: tuple[bool, bool]) -> None:
    access = gate.verify_dashboard(token(front, accessType=kind, scope=scope))
    assert (access.can_write(), access.can_manage()) == writes_and_manages
    assert access.access_type == kind


def test_it_covers_the_dashboards_that_it_names_and_no_empty_list_means_all(front: Front, gate: Gate) -> None:
    named = gate.verify_dashboard(token(front, parentDashboardIds=["dsh_1"]))
    assert named.covers("dsh_1")
    assert not any(named.covers(other) for other in ("dsh_2", "DSH_1", "dsh_", "", "*"))
    for none in (..., None):
        bare = gate.verify_dashboard(token(front, parentDashboardIds=none))
        assert bare.parent_dashboard_ids is None
        assert not any(bare.covers(other) for other in ("dsh_1", "", "None"))


# --- as strict as a data access token ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "over",
    [
        {"accessType": ...},
        {"accessType": None},
        {"accessType": "Admin"},
        {"accessType": "root"},
        {"accessType": ["admin"]},
        {"accessType": True},
        {"scope": None},
        {"scope": "write"},
        {"scope": "read read_write"},
        {"scope": ["read"]},
        {"userReference": ...},
        {"userReference": ""},
        {"userReference": 7},
        {"userReference": None},
        {"userReference": "x" * 257},
        {"projectId": ...},
        {"projectId": ""},
        {"projectId": None},
        {"projectId": 1},
        {"organisationId": ""},
        {"dashboardId": ["dsh_1"]},
        {"parentDashboardIds": []},
        {"parentDashboardIds": "dsh_1"},
        {"parentDashboardIds": [1]},
        {"parentDashboardIds": [""]},
        {"parentDashboardIds": [["dsh_1"]]},
        {"parentDashboardIds": {"dsh_1": True}},
        {"parentDashboardIds": ["x" * 257]},
        {"parentDashboardIds": ["d"] * 1001},
        {"expires": "2027-01-15T08:10:00"},
        {"exp": "1800000600"},
    ],
    ids=str,
)
def test_a_claim_that_is_absent_or_mistyped_is_refused_by_name(front: Front, gate: Gate, over: dict[str, Any]) -> None:
    refusal = refused(gate, token(front, **over))
    assert refusal.code == "claim_invalid"
    assert f"`{next(iter(over))}`" in refusal.detail


@pytest.mark.parametrize(
    ("over", "code"),
    [
        ({"expires": ...}, "expiry_missing"),
        ({"expires": "2027-01-15T08:00:00Z"}, "token_expired"),
        ({"expires": "2027-01-15T10:00:01Z"}, "lifetime_too_long"),
        ({"nbf": NOW + 31}, "token_not_yet_valid"),
        ({"aud": "somebody"}, "issuer_refused"),
    ],
)
def test_its_times_and_its_issuer_are_judged_like_any_token_s(front: Front, gate: Gate, over: dict[str, Any], code: str) -> None:
    assert refused(gate, token(front, **over)).code == code


def test_its_signature_and_its_form_are_judged_like_any_token_s(front: Front, gate: Gate) -> None:
    head, payload, signature = token(front).split(".")
    other = token(front, accessType="admin").split(".")[1]
    for sent, code in (
        (f"{head}.{other}.{signature}", "signature_invalid"),
        (f"eyJhbGciOiJub25lIn0.{payload}.", "algorithm_refused"),
        (f"{head}.{payload}", "token_malformed"),
        ("x" * 20_000, "token_too_large"),
        ("", "token_missing"),
    ):
        refusal = refused(gate, sent)
        assert refusal.code == code
        assert other not in str(refusal) + refusal.hint
    assert refused(gate, "").hint == "send the `dashboardAccessToken`"
    with pytest.raises(errors.TokenRefused, match="token_missing"):
        gate.verify_dashboard(None)  # type: ignore[arg-type]


def test_the_project_of_the_configuration_is_demanded(front: Front, tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "datasets.yaml"
    file.write_text(file.read_text().replace("profile: vizzly", "profile: vizzly\n    project_id: prj_1"))
    gate = Gate.from_yaml(file, clock=clock)
    try:
        assert gate.verify_dashboard(token(front)).project_id == "prj_1"
        assert refused(gate, token(front, projectId="prj_2")).code == "issuer_refused"
        assert refused(gate, token(front, projectId=..., organisationId="prj_1")).code == "issuer_refused"
    finally:
        gate.close()


# --- kinds -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "named"),
    [
        ({"dataSetIds": ["orders"]}, "a data access token"),
        ({"secureFilters": {}}, "a data access token"),
        ({"allowDatabaseSchemaAccess": True}, "a query engine access token"),
        ({"resources": []}, "a project access token"),
        ({"dataAccessToken": "x"}, "an object of several tokens"),
    ],
)
def test_another_kind_is_refused_even_where_it_also_looks_like_this_one(front: Front, gate: Gate, claims: dict[str, Any], named: str) -> None:
    for over in (claims, {**claims, "accessType": ..., "scope": ...}):
        refusal = refused(gate, token(front, **over))
        assert (refusal.code, refusal.hint) == ("token_kind", "send the `dashboardAccessToken`")
        assert named in refusal.detail


def test_the_token_of_a_login_is_none(front: Front, gate: Gate) -> None:
    refusal = refused(gate, token(front, sub="p1", accessType=..., scope=...))
    assert (refusal.code, "login" in refusal.detail) == ("token_kind", True)


def test_the_right_token_is_named_in_both_directions(front: Front, gate: Gate) -> None:
    tokens = Signer(front._key, clock=lambda: NOW).generate_tokens(user_reference="p1", project_id="prj_1", data_set_ids=["orders"], secure_filters={})
    assert refused(gate, tokens["dataAccessToken"]).hint == "send the `dashboardAccessToken`"
    assert refused(gate, json.dumps(tokens)).hint == "send the `dashboardAccessToken`"
    with pytest.raises(errors.TokenRefused) as found:
        gate.verify(tokens["dashboardAccessToken"])
    assert (found.value.code, found.value.hint) == ("token_kind", "send the `dataAccessToken`")
    assert gate.verify_dashboard(tokens["dashboardAccessToken"]).user_reference == "p1"


def test_each_profile_with_dashboards_has_one_for_data() -> None:
    assert DASHBOARD_PROFILES.keys() <= PROFILES.keys()


# --- the value ---------------------------------------------------------------------------------------------------------------------------


def test_every_question_is_asked_of_the_clock_again(front: Front, gate: Gate, clock: Clock) -> None:
    access = gate.verify_dashboard(token(front, accessType="admin", parentDashboardIds=["dsh_1"]))
    clock.now = NOW + 599.9
    assert access.can_manage()
    clock.now = NOW + 600
    for question in (access.can_write, access.can_manage, access.require_live, lambda: access.covers("dsh_1")):
        with pytest.raises(errors.TokenRefused, match="token_expired"):
            question()


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("keys: [{id: other, public_key_file: other.pem}]", "signature_invalid"),
        ("keys: [{id: front, public_key_file: public.pem}]\n    project_id: prj_2", "issuer_refused"),
    ],
    ids=["without its key", "for another project"],
)
def test_a_reloaded_configuration_judges_it_anew(front: Front, gate: Gate, tmp_path: Path, line: str, code: str) -> None:
    access = gate.verify_dashboard(token(front))
    gate.reload()
    assert access.can_write(), "the same configuration once more"
    (tmp_path / "other.pem").write_text(public_pem("other"))
    file = tmp_path / "datasets.yaml"
    file.write_text(file.read_text().replace("keys: [{id: front, public_key_file: public.pem}]", line))
    gate.reload()
    for question in (access.can_write, access.can_manage, access.require_live, lambda: access.covers("dsh_1")):
        with pytest.raises(errors.TokenRefused, match=code):
            question()


def test_nobody_else_makes_one_and_nothing_about_it_changes(front: Front, gate: Gate) -> None:
    access = gate.verify_dashboard(token(front))
    for attempt in (
        DashboardAccess,
        lambda: DashboardAccess._sealed(object(), access, lambda: None),
        lambda: dataclasses.replace(access, access_type="admin"),
    ):
        with pytest.raises(TypeError, match="public constructor"):
            attempt()
    for name, value in (("access_type", "admin"), ("_judge", lambda: None), ("expires_at", NOW * 2)):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(access, name, value)
    with pytest.raises((AttributeError, TypeError)):
        access.other = 1  # type: ignore[attr-defined]
    assert copy.copy(access).access_type == "standard"
    assert "p1" not in repr(access), "who somebody is stays out of logs"


def test_the_audit_says_yes_and_no_and_no_claim(front: Front, gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "rowseal.decisions"):
        digest = gate.verify_dashboard(token(front, userReference="somebody")).digest
        refused(gate, token(front, userReference="somebody", accessType="root"))
    yes, no = (json.loads(record.message) for record in caplog.records)
    assert (yes["code"], yes["status"], yes["token"], yes["key"]) == ("allowed", 200, digest[:12], "front")
    assert (no["code"], no["status"], no["token"]) == ("claim_invalid", 401, None)
    assert "somebody" not in caplog.text
    assert "prj_1" not in caplog.text


# --- the signer --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "over", [{"user_reference": "x" * 257}, {"parent_dashboard_ids": []}, {"parent_dashboard_ids": ["d"] * 1001}, {"project_id": "p" * 257}]
)
def test_what_the_verifier_refuses_is_not_signed(front: Front, over: dict[str, Any]) -> None:
    given = {"user_reference": "p1", "project_id": "prj_1", "data_set_ids": ["orders"], "secure_filters": {}}
    assert Signer(front._key).generate_tokens(**given)
    with pytest.raises(SigningRefused, match=r"of the token|must be a string"):
        Signer(front._key).generate_tokens(**(given | over))
