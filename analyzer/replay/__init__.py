"""Recorded telemetry through the same judge and decision, and the stable version against itself.

fields        strict reading of JSON values, each fault with a mend
counts        the counts format: a stream of lines in, records out
lines         one line of it
overrides     its overrides of a policy
schema        the format's JSON Schema
learning      history lines into what the judge learns from them
run           records of many rollouts through the judge, many at a time
result        what became of a rollout
course        what the daemon would have decided
show          the same for people
recorded      a rollout out of Prometheus' past
surroundings  pods, ages and history that go with it
weights       the weight that the traffic had
pseudo        pseudo-canaries made of a workload's own pods
calibrate     how often a policy rolls them back
mend          which setting would help
"""
