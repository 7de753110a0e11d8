"""Simulated services, for calibration and for `serin plan`: counts as a mesh would show them, judged by the real judge.

latency      how long requests take, and in which buckets they fall
noise        what differs without harm: bursts, wandering pods, clumps, cold starts, sticky users …
regressions  what a bad release does
traffic      a service and its pods
pods         the pods of many rollouts
draws        counts, by a generator for each rollout
world        a block of rollouts, interval by interval
history      the stable version's past, pod by pod
fleet        many blocks of one scene
rollouts     rollouts through the judge, on given weights or on those that the decision takes
outcomes     how they went
plan         what a policy will do (`serin plan`)
"""

from analyzer.simulate.fleet import Fleet, Scene
from analyzer.simulate.latency import LatencyShape, shape_of
from analyzer.simulate.noise import Noise
from analyzer.simulate.outcomes import Outcomes, median_of, standard_error, upper_bound
from analyzer.simulate.regressions import HARMLESS, MORE, TWELVE, Regression
from analyzer.simulate.rollouts import Phased, run_closed, run_schedule, schedule
from analyzer.simulate.traffic import Traffic

__all__ = [
    "HARMLESS",
    "MORE",
    "TWELVE",
    "Fleet",
    "LatencyShape",
    "Noise",
    "Outcomes",
    "Phased",
    "Regression",
    "Scene",
    "Traffic",
    "median_of",
    "run_closed",
    "run_schedule",
    "schedule",
    "shape_of",
    "standard_error",
    "upper_bound",
]
