"""What a person on call runs against a cluster: `status`, `explain`, and requests to Serin.

Modules:
    commands    the options, and `kubectl canary`
    reach       where the API server is, and what went wrong on the way to it
    screen      what the terminal can show
    policies    a policy as people see it
    table       columns that fit
    status      all rollouts, also live
    explain     one rollout: why here, why not further
    explained   the same for machines
    document    a policy for machines
    ask         pause, resume, retry, promote, abort
    complete    names for the shell
"""
