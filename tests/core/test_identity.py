import json

from hypothesis import given
from hypothesis import strategies as st

from analyzer.core.identity import alert_id

parts = st.tuples(st.text(), st.text(), st.booleans(), st.integers(0, 2**42))


def name(part: tuple[str, str, bool, int]) -> str:
    key, reason, resolved, at_ms = part
    return alert_id(dedup_key=key, reason=reason, resolved=resolved, at_s=at_ms / 1000)


@given(one=parts, other=parts)
def test_two_alerts_share_a_name_only_if_they_are_the_same(
    one: tuple[str, str, bool, int], other: tuple[str, str, bool, int]
) -> None:
    assert (name(one) == name(other)) == (one == other)


@given(at_s=st.floats(0, 4e9))
def test_a_trip_through_json_does_not_change_the_name(at_s: float) -> None:
    again = json.loads(json.dumps(at_s))
    assert alert_id(dedup_key="a", reason="b", resolved=False, at_s=at_s) == alert_id(
        dedup_key="a", reason="b", resolved=False, at_s=again
    )


def test_the_name_is_the_same_in_every_version() -> None:
    # Alerts in `.status` and at receivers were named by earlier versions.
    name = alert_id(dedup_key="shop/helloworld/v2", reason="RolledBack", resolved=False, at_s=1_763_868_727)
    assert name == "83bea2fbe2abfbadc1dfc2c374f77cdd"
