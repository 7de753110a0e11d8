import pytest

from analyzer.errors import PolicyError
from analyzer.ports import Object
from analyzer.sandbox.behaviour import Behaviour
from analyzer.sandbox.release import Release


def test_a_release_is_written_as_names_and_numbers() -> None:
    assert Release.parse("errors=0.02, latency=1.5") == Release(errors=0.02, latency=1.5)
    assert Release.parse("") == Release()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("erors=0.02", "write NAME=NUMBER, NAME one of errors, latency"),
        ("errors", "write NAME=NUMBER"),
        ("errors=2%", "errors='2%' is no number: write 0.02, say"),
        ("errors=5", "a share of requests is a ratio between 0 and 1"),
        ("latency=-1", "give a finite number, zero or more"),
        ("latency=nan", "give a finite number, zero or more"),
        ("latency=0", "give a number above zero"),
        ("errors=0.1,errors=0.2", "errors is given twice"),
    ],
)
def test_a_release_that_cannot_be_says_why(text: str, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        Release.parse(text)


def test_a_release_is_a_new_template_with_another_image(manifests: list[Object]) -> None:
    usual = manifests[-1]["spec"]["template"]
    fresh = Release(errors=0.05, latency=2).template(usual, tag="v2.1")
    assert fresh["spec"]["containers"][0]["image"] == "registry.example.com:5000/helloworld:v2.1"
    behaviour = Behaviour.of_template(fresh)
    assert (behaviour.error_rate, behaviour.latency_ms) == (0.05, 10)
    assert behaviour.startup_seconds == 0.1, "what the release does not change stays"
    assert Behaviour.of_template(usual).error_rate == 0, "the old template is as it was"


def test_a_variable_that_is_no_number_is_refused(manifests: list[Object]) -> None:
    template = manifests[-1]["spec"]["template"]
    template["spec"]["containers"][0]["env"] = [{"name": "ERROR_RATE", "value": "often"}]
    with pytest.raises(PolicyError, match=r"container 'helloworld': ERROR_RATE='often' is no number"):
        Behaviour.of_template(template)
