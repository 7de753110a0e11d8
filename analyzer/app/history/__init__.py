"""The past of a workload, pod by pod, and what the judge learns of it before a rollout.

reading   one read of the past
pods      a workload's counts, pod by pod and interval by interval
lessons   what they teach the judge, for many rollouts that begin together
"""
