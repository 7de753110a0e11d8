"""Alerts in a real Alertmanager."""

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import unused_port

from analyzer.adapters.alertmanager import EVENT_S, LASTS_S, AlertmanagerSink
from analyzer.adapters.post import Poster
from analyzer.errors import AlertUndelivered
from analyzer.ports import Alert, Severity
from tests.adapters.receiver import receiver, says
from tests.alerts import ROLLED_BACK
from tests.telemetry.real_prometheus import wait_for

BINARY = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
TEMPLATES = Path(sys.prefix) / "share"
"""Where `make test` put the templates of the Alertmanager that it fetched."""
CONFIG = """
route: {receiver: people, group_by: ["..."], group_wait: 10ms, group_interval: 100ms}
receivers: [{name: people}]
"""
NOW_S = time.time()


@dataclass
class Instance:
    """A running Alertmanager."""

    url: str

    def alerts(self) -> list[dict[str, Any]]:
        """Give the alerts that are firing."""
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts") as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return found

    def names(self) -> set[str]:
        return {alert["labels"]["alertname"] for alert in self.alerts()}

    def is_up(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready"):
                return True
        except OSError:
            return False


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    if BINARY is None:
        pytest.skip("Alertmanager is not here: `make test` fetches it")
    folder = tmp_path_factory.mktemp("alertmanager")
    (folder / "config.yml").write_text(CONFIG)
    port = unused_port()
    options = [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=", f"--storage.path={folder}"]
    with (
        (folder / "log").open("wb") as output,
        subprocess.Popen(
            [BINARY, f"--config.file={folder / 'config.yml'}", *options],
            stdout=output,
            stderr=output,
            cwd=TEMPLATES if TEMPLATES.exists() else None,
        ) as process,
    ):
        running = Instance(f"http://127.0.0.1:{port}")
        try:
            wait_for(running.is_up, f"Alertmanager; {folder / 'log'}")
            yield running
        finally:
            process.terminate()


def sink(*urls: str, now_s: float = NOW_S) -> AlertmanagerSink:
    return AlertmanagerSink(Poster("central"), urls=urls, labels={"team": "shop"}, now_s=lambda: now_s)


def condition(reason: str, policy: str, **changes: Any) -> Alert:
    """What stands; each test has a policy of its own, for they share the instance."""
    return replace(
        ROLLED_BACK,
        reason=reason,
        lasts=True,
        policy=f"shop/{policy}",
        dedup_key=f"serin/shop/{policy}/v2@7d9c5f4b6d",
        at_s=NOW_S - 60.0,
        **changes,
    )


pytestmark = [pytest.mark.real, pytest.mark.xdist_group("alertmanager")]


async def test_an_alert_fires_with_labels_to_route_by_and_the_whole_text(instance: Instance) -> None:
    alert = condition(
        "Blind", "fires", command="kubectl get pods", links={"runbook": "https://serin.dev/runbook#blind"}
    )
    await sink(instance.url).send(alert)
    (found,) = [each for each in instance.alerts() if each["labels"]["policy"] == "fires"]
    assert found["labels"] == {
        "alertname": "SerinBlind",
        "severity": "critical",
        "reason": "Blind",
        "namespace": "shop",
        "policy": "fires",
        "rollout": "v2@7d9c5f4b6d",
        "team": "shop",
    }
    assert found["annotations"]["summary"] == ROLLED_BACK.title
    assert found["annotations"]["runbook_url"] == "https://serin.dev/runbook#blind"
    assert found["annotations"]["command"] == "kubectl get pods"
    assert "What Serin did" in found["annotations"]["description"]
    assert found["status"]["state"] in {"active", "unprocessed"}


@pytest.mark.parametrize("severity", [Severity.PAGE, Severity.NOTICE])
async def test_what_is_resolved_stops_firing_even_by_a_process_that_never_raised_it(
    instance: Instance, severity: Severity
) -> None:
    alert = condition("Drift", f"ends-{severity}", severity=severity)
    await sink(instance.url).send(alert)
    assert any(each["labels"]["policy"] == f"ends-{severity}" for each in instance.alerts())
    await sink(instance.url).send(replace(alert, resolved=True, at_s=NOW_S, severity=Severity.NOTICE))
    assert not [each for each in instance.alerts() if each["labels"]["policy"] == f"ends-{severity}"]


async def test_a_rollback_ends_the_conditions_that_it_is_the_end_of(instance: Instance) -> None:
    one = sink(instance.url)
    await one.send(condition("CannotRollBack", "rolled"))
    await one.send(replace(condition("RolledBack", "rolled"), lasts=False, ends=("CannotRollBack",)))
    assert [each["labels"]["reason"] for each in instance.alerts() if each["labels"]["policy"] == "rolled"] == [
        "RolledBack"
    ]


async def test_what_stands_is_repeated_and_so_outlives_its_end() -> None:
    clock = [NOW_S]
    async with receiver(says(200)) as got:
        central = AlertmanagerSink(Poster("central"), urls=[got.url], now_s=lambda: clock[0])
        await central.send(condition("Blind", "stands"))
        await central.send(replace(condition("RolledBack", "happened"), lasts=False))
        clock[0] += EVENT_S + 1
        await central.repeat()
        await central.send(condition("Blind", "stands", resolved=True))
        await central.repeat()
    first, second, repeated, resolved = got.bodies
    assert ends(first) == pytest.approx([NOW_S + LASTS_S], abs=0.01)
    assert ends(second) == pytest.approx([NOW_S + EVENT_S], abs=0.01)
    assert ends(repeated) == pytest.approx([NOW_S + EVENT_S + 1 + LASTS_S], abs=0.01), "the rollback is over by itself"
    assert max(ends(resolved)) < NOW_S


def ends(posted: Any) -> list[float]:
    return [datetime.fromisoformat(each["endsAt"]).timestamp() for each in posted]


async def test_an_alertmanager_that_lost_its_memory_has_everything_back_by_repetition(instance: Instance) -> None:
    async with receiver(says(200)) as got:
        central = AlertmanagerSink(Poster("central"), urls=[got.url])
        await central.send(condition("Blind", "lost"))
    central._urls = sink(instance.url)._urls  # the one that forgot comes back as another
    assert not [each for each in instance.alerts() if each["labels"]["policy"] == "lost"]
    await central.repeat()
    assert [each for each in instance.alerts() if each["labels"]["policy"] == "lost"]


async def test_one_instance_of_several_is_enough(instance: Instance) -> None:
    dead = f"http://127.0.0.1:{unused_port()}"
    await sink(dead, instance.url).send(condition("Blind", "several"))
    assert [each for each in instance.alerts() if each["labels"]["policy"] == "several"]
    with pytest.raises(AlertUndelivered, match="cannot be reached"):
        await sink(dead, dead).send(condition("Blind", "several"))


async def test_a_replica_that_stands_down_repeats_nothing() -> None:
    async with receiver(says(200)) as got:
        central = sink(got.url)
        await central.send(condition("Blind", "handed-over"))
        central.forget()
        await central.repeat()
    assert len(got.bodies) == 1
