from dataclasses import replace

import numpy as np
import pytest

from analyzer.app.ledger import Anomaly, VersionSource, build_intervals, window_for
from analyzer.ports import Workload
from tests.app.ledger_scenes import (
    DEMAND,
    V1,
    V2,
    Scene,
    canary_counts,
    latencies,
    stable_counts,
    steady,
    ups,
)

UNKNOWN = Workload("unknown", "unknown")
OLD = 5000.0  # an uptime from long before the window

# Scrapes at 55, 65 … 165, bins of 10 s, judged from 100 on: the first judged scrape is that of 105, in the bin up to 110.


@pytest.fixture
def scene() -> Scene:
    scene = Scene()
    scene.add_uptime(ups(OLD))
    scene.add(V1, steady(1000, 50))
    scene.add(V2, steady(100, 5))
    return scene


def test_differences_fall_into_the_bin_of_their_end(scene: Scene) -> None:
    statement = scene.state(131)

    assert stable_counts(statement) == [(110, 50, 0), (120, 50, 0), (130, 50, 0)]
    assert canary_counts(statement) == [(110, 5, 0), (120, 5, 0), (130, 5, 0)]
    assert [i.seconds for i in statement.intervals] == [10, 10, 10]
    assert statement.until_s == 130
    assert statement.health.fresh
    assert statement.health.newest_s == 125
    assert statement.anomalies == {}


def test_what_was_judged_is_not_counted_again(scene: Scene) -> None:
    first = scene.state(121)
    second = scene.state(141, replace(DEMAND, since_s=first.until_s))

    assert [i.end_s for i in (*first.intervals, *second.intervals)] == [110, 120, 130, 140]


def test_intervals_carry_weight_pods_and_the_age_of_the_youngest(scene: Scene) -> None:
    demand = replace(DEMAND, stable_pods=7, canary_pods=2, canary_youngest_pod_at_s=95.0)
    interval = scene.state(111, demand).intervals[0]

    assert (interval.weight, interval.stable.pods, interval.canary.pods) == (10.0, 7, 2)
    assert interval.canary.youngest_pod_age_s == 15
    assert interval.stable.youngest_pod_age_s == float("inf")


@pytest.mark.parametrize("code", ["500", "503", "599", "0"])
def test_5xx_and_an_abandoned_request_are_errors(scene: Scene, code: str) -> None:
    scene.add(V2, steady(3, 2), response_code=code)

    assert canary_counts(scene.state(111)) == [(110, 7, 2)]


@pytest.mark.parametrize("code", ["404", "429", "302", "200"])
def test_other_codes_are_requests(scene: Scene, code: str) -> None:
    scene.add(V2, steady(3, 2), response_code=code, request_protocol="other")

    assert canary_counts(scene.state(111)) == [(110, 7, 0)]


@pytest.mark.parametrize(("status", "errors"), [("14", 2), ("2", 2), ("13", 2), ("5", 0), ("1", 0), ("0", 0)])
def test_grpc_errors_hide_behind_a_200(scene: Scene, status: str, errors: int) -> None:
    scene.add(V2, steady(3, 2), grpc_response_status=status, request_protocol="grpc")

    assert canary_counts(scene.state(111)) == [(110, 7, errors)]


def test_the_operator_may_call_other_codes_errors(scene: Scene) -> None:
    scene.add(V2, steady(3, 2), response_code="429")
    [statement] = build_intervals(scene.window(111), [DEMAND], error_codes=frozenset({"429"}))

    assert canary_counts(statement) == [(110, 7, 2)]


def test_injected_faults_are_nobodys(scene: Scene) -> None:
    scene.add(V2, steady(3, 2), response_code="503", response_flags="FI")
    scene.add(V2, steady(3, 2), response_code="503", response_flags="DC,FI")
    scene.add(V2, steady(3, 2), response_code="503", response_flags="UF,URX")

    assert canary_counts(scene.state(111)) == [(110, 7, 2)]


# --- births, resets, restarts -----------------------------------------------------------------------------------------


def test_a_born_series_counts_its_first_value(scene: Scene) -> None:
    scene.add(V2, [(115, 1), (125, 4)], response_code="503")
    statement = scene.state(131)

    assert canary_counts(statement) == [(110, 5, 0), (120, 6, 1), (130, 8, 3)]
    assert statement.anomalies == {Anomaly.BIRTH: 1}


def test_a_reset_counts_the_new_value() -> None:
    scene = Scene()
    scene.add_uptime(ups(OLD))
    scene.add(V1, [(85, 10), (95, 20), (105, 3), (115, 5)])
    statement = scene.state(121)

    assert stable_counts(statement) == [(110, 3, 0), (120, 2, 0)]
    assert statement.anomalies == {Anomaly.RESET: 1}


def test_a_restart_counts_in_full_even_what_did_not_fall() -> None:
    scene = Scene()
    scene.add_uptime([(85, OLD), (95, OLD + 10), (105, 5), (115, 15)])
    scene.add(V1, [(85, 10), (95, 20), (105, 30), (115, 31)])
    scene.add(V2, [(95, 9), (105, 2), (115, 4)])
    statement = scene.state(121)

    assert stable_counts(statement) == [(110, 30, 0), (120, 1, 0)]
    assert canary_counts(statement) == [(110, 2, 0), (120, 2, 0)]
    assert statement.anomalies == {Anomaly.RESTART: 1}


def test_a_process_that_dies_young_is_told_by_one_falling_counter() -> None:
    scene = Scene()
    scene.add_uptime([(85, 3), (95, 9)])  # began at 82, and again just after 85
    scene.add(V1, [(85, 4), (95, 6)])
    scene.add(V2, [(85, 2), (95, 1)])
    statement = scene.state(101, replace(DEMAND, since_s=90.0))

    assert stable_counts(statement) == [(100, 6, 0)]
    assert canary_counts(statement) == [(100, 1, 0)]


@pytest.mark.parametrize("uptime", [OLD - 3600, OLD + 3])
def test_a_clock_set_back_or_a_late_flush_is_no_restart(uptime: float) -> None:
    scene = Scene()
    scene.add_uptime([(85, OLD - 10), (95, OLD), (105, uptime)])
    scene.add(V1, [(85, 100), (95, 120), (105, 130)])

    assert stable_counts(scene.state(111)) == [(110, 10, 0)]


def test_a_new_reporter_counts_from_zero(scene: Scene) -> None:
    scene.add_uptime([(112, 4), (122, 14)], at="new:15020")
    scene.add(V1, [(112, 7), (122, 9)], at="new:15020")

    assert stable_counts(scene.state(131)) == [(110, 50, 0), (120, 57, 0), (130, 52, 0)]


@pytest.mark.parametrize("uptime", [None, OLD])
def test_without_a_baseline_a_reporter_is_left_out_for_both_versions(scene: Scene, uptime: float | None) -> None:
    if uptime is not None:
        scene.add_uptime([(112, uptime), (122, uptime + 10)], at="old:15020")
    scene.add(V1, [(112, 7000), (122, 7009)], at="old:15020")
    scene.add(V2, [(112, 700), (122, 702)], at="old:15020")
    statement = scene.state(131)

    assert stable_counts(statement) == [(110, 50, 0), (120, 50, 0), (130, 59, 0)]
    assert canary_counts(statement) == [(110, 5, 0), (120, 5, 0), (130, 7, 0)]
    assert statement.anomalies == {Anomaly.UNKNOWN_BASELINE: 2, Anomaly.DISCARDED: 1}


def test_up_is_no_proof_that_envoy_was_scraped() -> None:
    scene = Scene()
    up = {"__name__": "up", "job": "mesh", "instance": "gw:15020"}
    scene.reporters.append((up, steady(1, 0, start=55)))
    scene.add(V1, [(105, 9000), (115, 9010)])  # the agent answered, the Envoy behind it did not until now
    statement = scene.state(121)

    assert stable_counts(statement) == [(120, 10, 0)]
    assert statement.anomalies == {Anomaly.UNKNOWN_BASELINE: 1, Anomaly.DISCARDED: 1}


def test_an_evicted_series_that_returns_counts_in_full(scene: Scene) -> None:
    scene.add(V2, [(55, 40), (65, 40), (125, 60)], response_code="503")

    assert canary_counts(scene.state(131)) == [(110, 5, 0), (120, 5, 0), (130, 65, 60)]


def test_a_dead_series_is_no_more_increments(scene: Scene) -> None:
    scene.add(V2, [(85, 4), (95, 6), (105, 9)], response_code="503")
    statement = scene.state(131)

    assert canary_counts(statement) == [(110, 8, 3), (120, 5, 0), (130, 5, 0)]
    assert statement.anomalies == {Anomaly.STALE: 1}


# --- gaps and missed scrapes ------------------------------------------------------------------------------------------


def test_a_missed_scrape_is_added_to_the_next_interval() -> None:
    scene = Scene()
    scene.add_uptime([(95, OLD), (115, OLD + 20)])
    scene.add(V1, [(95, 100), (115, 130)])
    statement = scene.state(121)

    assert stable_counts(statement) == [(120, 30, 0)]
    assert statement.intervals[0].seconds == 20


def test_a_gap_is_not_counted() -> None:
    scene = Scene()
    scene.add_uptime([(95, OLD), (125, OLD + 30), (135, OLD + 40)])
    scene.add(V1, [(95, 100), (125, 1300), (135, 1310)])
    statement = scene.state(141)

    assert stable_counts(statement) == [(140, 10, 0)]
    assert statement.intervals[0].seconds == 10
    assert statement.anomalies == {Anomaly.GAP: 1, Anomaly.DISCARDED: 1}


def test_a_restart_ends_a_gap() -> None:
    scene = Scene()
    scene.add_uptime([(85, OLD), (95, OLD + 10), (135, 5)])
    scene.add(V1, [(85, 100), (95, 100), (135, 13)])

    assert stable_counts(scene.state(141)) == [(140, 13, 0)]


def test_a_series_missing_from_one_scrape_goes_on(scene: Scene) -> None:
    scene.add(V2, [(85, 4), (95, 6), (115, 9)], response_code="503")

    assert canary_counts(scene.state(121)) == [(110, 5, 0), (120, 8, 3)]


# --- values that no counter has ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "anomaly"),
    [
        (-5.0, Anomaly.NEGATIVE),
        (float("nan"), Anomaly.NOT_FINITE),
        (float("inf"), Anomaly.NOT_FINITE),
        (float("-inf"), Anomaly.NOT_FINITE),
        (7.5, Anomaly.FRACTIONAL),
    ],
)
def test_an_impossible_value_leaves_its_reporter_out_for_both_versions(
    scene: Scene, value: float, anomaly: Anomaly
) -> None:
    scene.add(V1, steady(2000, 60), at="other:15020")
    scene.add(V2, [(85, 4), (95, 6), (105, value), (115, 9), (125, 10)], at="other:15020", response_code="503")
    statement = scene.state(131)

    assert stable_counts(statement) == [(110, 50, 0), (120, 50, 0), (130, 110, 0)]
    assert canary_counts(statement) == [(110, 5, 0), (120, 5, 0), (130, 6, 1)]
    assert statement.anomalies == {anomaly: 1, Anomaly.DISCARDED: 2}


def test_the_same_row_twice_counts_once(scene: Scene) -> None:
    scene.requests += scene.requests
    statement = scene.state(121)

    assert stable_counts(statement) == [(110, 50, 0), (120, 50, 0)]
    assert statement.anomalies == {Anomaly.DUPLICATE: 4}


def test_two_values_for_one_instant_are_not_used(scene: Scene) -> None:
    scene.add(V1, steady(1001, 50))
    statement = scene.state(121)

    assert statement.intervals == ()
    assert statement.until_s == 120
    assert statement.anomalies == {Anomaly.DUPLICATE: 2, Anomaly.DISCARDED: 2}


# --- errors without a workload ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cluster", "stable", "canary", "nobody"),
    [
        ("outbound|80|v2|cart.shop.svc.cluster.local;", 0, 2, 0),
        ("outbound|80|v2|cart.shop.svc.cluster.local", 0, 2, 0),
        ("outbound|80|v1|cart.shop.svc.cluster.local;", 2, 0, 0),
        ("outbound|80|v2|cart.other.svc.cluster.local;", 0, 0, 2),
        ("", 0, 0, 2),
    ],
)
def test_the_upstream_cluster_attributes_errors_without_a_workload(
    scene: Scene, cluster: str, stable: int, canary: int, nobody: int
) -> None:
    service = "cart.shop.svc.cluster.local"
    scene.add(UNKNOWN, steady(3, 2), response_code="503", upstream_cluster=cluster, destination_service=service)
    [interval] = scene.state(111).intervals

    assert (interval.stable.errors, interval.canary.errors, interval.unattributed_errors) == (stable, canary, nobody)


def test_unattributed_are_only_errors_of_the_own_service(scene: Scene) -> None:
    scene.add(UNKNOWN, steady(3, 2), response_code="503", destination_service_name="cart")
    scene.add(UNKNOWN, steady(3, 4), response_code="503", destination_service_name="elsewhere")
    scene.add(UNKNOWN, steady(3, 8), response_code="404", destination_service_name="cart")
    [interval] = scene.state(111).intervals

    assert interval.unattributed_errors == 2
    assert (interval.stable.requests, interval.canary.requests) == (50, 5)


# --- routes -----------------------------------------------------------------------------------------------------------


def test_only_the_route_counts() -> None:
    scene = Scene()
    scene.add_uptime(ups(OLD))
    for route, step in (("insiders", 3), ("insiders.cookie", 4), ("primary", 100), ("insiders-too", 1000)):
        scene.add(V1, steady(10, step), route_name=route)

    assert stable_counts(scene.state(111, replace(DEMAND, routes=frozenset({"insiders"})))) == [(110, 7, 0)]


def test_several_routes_are_counted_together() -> None:
    scene = Scene()
    scene.add_uptime(ups(OLD))
    for route, step in (("insiders", 3), ("primary.cookie", 4), ("primary", 100), ("elsewhere", 1000)):
        scene.add(V1, steady(10, step), route_name=route)

    assert stable_counts(scene.state(111, replace(DEMAND, routes=frozenset({"insiders", "primary"})))) == [
        (110, 107, 0)
    ]


def test_a_focused_stage_is_refused_without_route_labels(scene: Scene) -> None:
    statement = scene.state(131, replace(DEMAND, routes=frozenset({"insiders"})))

    assert statement.intervals == ()
    assert (statement.health.fresh, statement.health.reason) == (False, "RouteLabelMissing")
    assert "tagOverrides" in statement.health.message


# --- histograms -------------------------------------------------------------------------------------------------------


def test_buckets_become_counts_per_bucket(scene: Scene) -> None:
    scene.add_latency(V1, {"5": steady(10, 20), "10": steady(10, 30), "+Inf": steady(10, 49)})
    scene.add_latency(V2, {"5": steady(1, 1), "10": steady(1, 1), "+Inf": steady(1, 5)})
    [interval] = scene.state(111).intervals

    assert interval.edges_ms == (5.0, 10.0)
    assert latencies(interval) == ([20, 10, 19], [1, 0, 4])


def test_only_edges_that_both_versions_have_are_used(scene: Scene) -> None:
    scene.add_latency(V1, {"5": steady(0, 20), "10": steady(0, 30), "25": steady(0, 40), "+Inf": steady(0, 49)})
    scene.add_latency(V2, {"5": steady(0, 1), "25": steady(0, 3), "50": steady(0, 4), "+Inf": steady(0, 5)})
    [interval] = scene.state(111).intervals

    assert interval.edges_ms == (5.0, 25.0)
    assert latencies(interval) == ([20, 20, 9], [1, 2, 2])


def test_without_histograms_there_is_one_empty_bucket(scene: Scene) -> None:
    [interval] = scene.state(111).intervals

    assert interval.edges_ms == ()
    assert latencies(interval) == ([0], [0])


@pytest.mark.parametrize(
    "broken", [{"5": steady(0, 3), "10": steady(0, 2), "+Inf": steady(0, 5)}, {"5": steady(0, 3), "10": steady(0, 4)}]
)
def test_buckets_that_do_not_add_up_are_left_out(scene: Scene, broken: dict[str, list[tuple[float, float]]]) -> None:
    scene.add(V1, steady(1000, 50), at="fine:15020")
    for workload in (V1, V2):
        scene.add_latency(workload, {"5": steady(0, 3), "10": steady(0, 4), "+Inf": steady(0, 5)}, at="fine:15020")
    scene.add_latency(V1, {"5": steady(0, 30), "10": steady(0, 40), "+Inf": steady(0, 50)})
    scene.add_latency(V2, broken)
    statement = scene.state(111)
    stable, canary = latencies(statement.intervals[0])

    assert canary == [3, 1, 1]
    assert stable in ([3, 1, 1], [33, 11, 11])  # without +Inf it is the version's own histogram that is no use
    assert statement.intervals[0].canary.requests == 5
    assert statement.anomalies == {Anomaly.HISTOGRAM: 1}


# --- closing bins -----------------------------------------------------------------------------------------------------


def test_a_bin_stays_open_until_it_settled(scene: Scene) -> None:
    assert scene.state(110.9).intervals == ()
    assert [i.end_s for i in scene.state(111).intervals] == [110]


def test_a_bin_waits_for_a_reporter_that_was_there_and_then_no_more(scene: Scene) -> None:
    scene.add_uptime(ups(OLD, start=58, count=5), at="gone:15020")
    scene.add(V1, steady(0, 1, start=58, count=5), at="gone:15020")  # last seen at 98

    assert scene.state(111).intervals == ()
    assert [i.end_s for i in scene.state(121).intervals] == [110]
    assert [i.end_s for i in scene.state(141).intervals] == [110, 120, 130, 140]  # it is no longer expected


def test_bins_without_a_scrape_do_not_hold_the_end_back_for_long(scene: Scene) -> None:
    statement = scene.state(231, window_s=200.0)  # the last scrape was at 165

    assert [i.end_s for i in statement.intervals][-1] == 170
    assert statement.until_s == 210
    assert (statement.health.fresh, statement.health.reason) == (False, "Stale")


def test_the_grid_is_derived_from_the_scrapes(scene: Scene) -> None:
    statement = scene.state(131, replace(DEMAND, interval_s=None))

    assert statement.interval_s == 10
    assert [i.end_s for i in statement.intervals] == [110, 120, 130]


def test_a_new_grid_counts_nothing_twice(scene: Scene) -> None:
    first = scene.state(121)
    statement = scene.state(163, replace(DEMAND, since_s=first.until_s, interval_s=7.0))

    assert sum(i.stable.requests for i in statement.intervals) == 4 * 50  # scrapes at 125, 135, 145 and 155
    assert sum(i.seconds for i in statement.intervals) == statement.intervals[-1].end_s - 120


def test_without_an_end_the_first_complete_interval_begins(scene: Scene) -> None:
    statement = scene.state(101, replace(DEMAND, since_s=None))

    assert [i.end_s for i in statement.intervals] == [70, 80, 90, 100]
    assert statement.anomalies == {}


# --- health -----------------------------------------------------------------------------------------------------------


def test_no_series_says_what_to_check() -> None:
    statement = Scene().state(131)

    assert (statement.health.fresh, statement.health.reason) == (False, "NoSeries")
    assert "shop/cart-v1 and shop/cart-v2" in statement.health.message
    assert statement.health.newest_s is None
    assert statement.intervals == ()


def test_nothing_to_read_does_not_make_the_window_grow() -> None:
    scene, demand = Scene(), DEMAND
    for end in range(131, 2000, 10):
        statement = scene.state(float(end), demand)
        demand = replace(demand, since_s=statement.until_s, interval_s=statement.interval_s)

    assert window_for([demand], 2000.0) < 200


def test_one_scrape_does_not_tell_the_interval() -> None:
    scene = Scene()
    scene.add(V1, [(105, 10)])
    statement = scene.state(111, replace(DEMAND, interval_s=None))

    assert (statement.health.reason, statement.interval_s, statement.intervals) == ("TooFewScrapes", None, ())


def test_a_window_too_short_is_marked_and_goes_on(scene: Scene) -> None:
    statement = scene.state(161, window_s=50.0)  # from 111 on, and the demand begins at 100

    assert [i.end_s for i in statement.intervals] == [130, 140, 150, 160]
    assert (statement.health.fresh, statement.health.reason) == (True, "WindowExceeded")


def test_the_window_reaches_back_for_the_slowest_demand_and_has_an_end() -> None:
    slow, lost = replace(DEMAND, since_s=900.0, interval_s=15.0), replace(DEMAND, since_s=0.0)

    assert window_for([replace(DEMAND, since_s=995.0, interval_s=2.0), slow], 1000.0) == 100 + 4 * 15 + 10
    assert window_for([lost], 100_000.0) == 600


def test_demands_are_answered_in_order_and_apart(scene: Scene) -> None:
    other = replace(
        DEMAND,
        key="other",
        stable=VersionSource(V2),
        canary=VersionSource(V1),
        interval_s=20.0,
    )
    statements = build_intervals(scene.window(141), [other, DEMAND])

    assert stable_counts(statements[0]) == [(120, 10, 0), (140, 10, 0)]
    assert stable_counts(statements[1]) == [(110, 50, 0), (120, 50, 0), (130, 50, 0), (140, 50, 0)]


def test_nothing_is_asked_and_nothing_is_answered() -> None:
    assert build_intervals(Scene().window(100), []) == []


def test_counts_are_whole_numbers(scene: Scene) -> None:
    scene.add_latency(V1, {"5": steady(10, 20), "+Inf": steady(10, 49)})
    [interval] = scene.state(111).intervals

    assert interval.stable.latency_counts.dtype == np.int64
    assert isinstance(interval.stable.requests, int)
