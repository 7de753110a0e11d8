"""Alerts as a person on call would really get them."""

from dataclasses import replace

from analyzer.ports import Alert, Severity

AT_S = 1_763_868_727.25  # 2025-11-23 03:32:07.25 UTC

ROLLED_BACK = Alert(
    dedup_key="shop/helloworld/v2@7d9c5f4b6d",
    reason="RolledBack",
    severity=Severity.PAGE,
    resolved=False,
    title="helloworld: v2 rolled back at 10 %, it fails more requests than v1",
    what="Canary v2 (revision 7d9c5f4b6d) of VirtualService shop/helloworld was harmful at weight 10.",
    evidence=(
        "errors   canary 5.13 % [3.06 %, 7.98 %] of 351 requests, stable 0.10 % [0.02 %, 0.28 %] of 3,162\n"
        "evidence 1 in 410 that a harmless release looks like this; judged for 16 s in 8 intervals"
    ),
    done="All traffic is back on stable v1 since 03:32:07 UTC, 18 s after the canary's first request.",
    to_do="Mend v2 and deploy it again; a new revision is judged by itself. To judge this one again:\n"
    "serin retry -n shop helloworld",
    policy="shop/helloworld",
    receivers=("oncall",),
    at_s=AT_S,
    details={"canary": {"requests": 351, "errors": 18}, "stable": {"requests": 3162, "errors": 3}, "weight": 10},
)

ROLLBACK_BLOCKED = replace(
    ROLLED_BACK,
    reason="RollbackBlocked",
    title="helloworld: v2 is harmful and CANNOT be rolled back, users still get it",
    what="Canary v2 still has weight 10: the API server refuses the write that takes it to zero.",
    evidence="admission webhook validation.istio.io denied the request: connection refused (7 attempts in 42 s)",
    done="Serin keeps trying, every 10 s.",
    to_do="Take the traffic back by hand now:\n"
    "kubectl -n shop patch virtualservice helloworld --type=json "
    """-p='[{"op":"replace","path":"/spec/http/0/route/0/weight","value":100},"""
    """{"op":"replace","path":"/spec/http/0/route/1/weight","value":0}]'""",
)

PROMOTED = replace(
    ROLLED_BACK,
    reason="Promoted",
    severity=Severity.INFO,
    resolved=True,
    title="helloworld: v2 promoted to 100 %",
    what="Canary v2 (revision 7d9c5f4b6d) has all traffic of VirtualService shop/helloworld.",
    evidence="errors   canary 0.10 % [0.07 %, 0.14 %] of 41,210 requests, stable 0.10 % [0.08 %, 0.13 %] of 60,340",
    done="Weights went 1, 5, 10, 25, 50, 100 in 8 min 40 s.",
    to_do="",
)
