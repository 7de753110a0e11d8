"""The functional core: decisions as pure functions of policy, state and snapshot.

Nothing below this package knows an event loop, a clock, a log or a network; `now` and seeds are arguments.
"""
