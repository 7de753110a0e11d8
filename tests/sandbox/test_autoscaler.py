import pytest

from analyzer.core.capacity.hpa import Target
from analyzer.errors import PolicyError
from analyzer.ports import Object
from analyzer.sandbox.autoscaler import parse_millicores, parse_target

TARGET = Target(per_pod=50, request=100)


def test_quantities_are_read_in_both_spellings() -> None:
    assert parse_millicores("250m") == 250
    assert parse_millicores("0.5") == 500
    assert parse_millicores(2) == 2000


def test_a_pod_without_a_cpu_request_is_refused(hpas: list[Object], manifests: list[Object]) -> None:
    deployment = manifests[-1]
    assert parse_target(hpas[1], deployment) == TARGET
    del deployment["spec"]["template"]["spec"]["containers"][0]["resources"]
    with pytest.raises(PolicyError, match=r"HPA shop/helloworld-v2: a container of helloworld-v2 has no CPU request"):
        parse_target(hpas[1], deployment)
