"""What is read from an audit log: whose requests, by which token, and what was refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.audit import AuditLog
from tests.cluster.deployment import ACCOUNT

DENIED = "\"cart\" is forbidden: ValidatingAdmissionPolicy 'weights-only.serin.dev' with binding … denied request: no"


def event(
    verb: str, *, code: int = 200, message: str = "", stage: str = "ResponseComplete", **more: Any
) -> dict[str, Any]:
    user = {"username": ACCOUNT, "extra": {"authentication.kubernetes.io/credential-id": ["JTI=1"]}}
    decision = "forbid" if code == 403 else "allow"
    return {
        "verb": verb,
        "stage": stage,
        "user": user,
        "requestURI": "/apis/networking.istio.io/v1/virtualservices",
        "objectRef": {"resource": "virtualservices", "namespace": "shop"},
        "responseStatus": {"code": code, "message": message},
        "requestReceivedTimestamp": "2026-11-28T16:32:56.445290Z",
        "annotations": {"authorization.k8s.io/decision": decision},
        **more,
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "audit.log"
    write(path, event("list"))
    return path


def write(path: Path, *events: dict[str, Any]) -> None:
    with path.open("a") as log:
        log.writelines(f"{json.dumps(one)}\n" for one in events)


def test_others_and_what_was_before_are_not_counted_and_a_watch_is_counted_once(path: Path) -> None:
    log = AuditLog(path)
    begun = event("watch", stage="ResponseStarted")
    write(path, begun, event("watch"), event("get", user={"username": "admin"}), event("get", user={}), event("patch"))
    assert [(one.verb, one.resource, one.token) for one in log.asked()] == [
        ("watch", "virtualservices", "JTI=1"),
        ("patch", "virtualservices", "JTI=1"),
    ]
    assert log.asked(["elsewhere"]) == []
    log.check_rights()


@pytest.mark.parametrize("verb", ["watch", "patch"])
def test_a_right_that_is_lacking_is_told(path: Path, verb: str) -> None:
    log = AuditLog(path)
    write(path, event("get"), event(verb, code=403, message="User cannot do it"))
    with pytest.raises(AssertionError, match="User cannot do it"):
        log.check_rights()


def test_an_api_server_that_has_just_started_lacks_nothing(path: Path) -> None:
    log = AuditLog(path)
    write(path, event("patch", code=403, message="User cannot do it"), event("patch"))
    log.check_rights()


def test_what_an_admission_policy_denies_is_told_though_the_role_allows_it(path: Path) -> None:
    log = AuditLog(path)
    write(path, event("patch"), event("patch", code=422, message=DENIED))
    with pytest.raises(AssertionError, match="weights-only"):
        log.check_rights()
