"""Rules over several fields as the API server checks them, in the words of `analyzer.policy.rules`.

They are CEL. What a list or a mapping may cost is bounded by its `maxItems` or `maxProperties`.
"""

from typing import Any, Final

from analyzer.policy.model import DEFAULTS_NAME, Dwell
from analyzer.policy.quantities import format_duration

Rule = dict[str, Any]

_DEFAULT: Final = Dwell()
_MIN: Final = f"(has(self.min) ? self.min : '{format_duration(_DEFAULT.min_s)}')"
_MAX: Final = f"(has(self.max) ? self.max : '{format_duration(_DEFAULT.max_s)}')"
_DEPLOYMENTS: Final = "spec.target.deployments"

NAMED_DEFAULT: Final[Rule] = {
    "rule": f"self.metadata.name == '{DEFAULTS_NAME}'",
    "messageExpression": f"'`' + self.metadata.name + '` is not one of {DEFAULTS_NAME}; a namespace has one of these'",
}
"""On the whole `CanaryDefaults`."""

ACROSS_FIELDS: Final[tuple[tuple[str, Rule], ...]] = (
    (
        _DEPLOYMENTS,
        {
            "rule": "size(self) == 2",
            "message": "a canary has exactly two versions; name both, like `{v1: app-v1, v2: app-v2}`",
        },
    ),
    (
        _DEPLOYMENTS,
        {
            "rule": "size(self) != 2 || self.all(one, self.all(other, one == other || self[one] != self[other]))",
            "message": "both versions are the same Deployment; give each version a Deployment of its own",
        },
    ),
    (
        "spec.target",
        {
            "rule": "!has(self.versions) || !has(self.deployments) "
            "|| self.deployments.all(name, name in self.versions)",
            "messageExpression": "'`' + self.deployments.filter(name, !(name in self.versions))[0] "
            "+ '` is not one of the versions; name the Deployments of ' + self.versions[0] + ' and ' + self.versions[1]",
            "fieldPath": ".deployments",
        },
    ),
    (
        "spec.target",
        {
            "rule": "!has(self.stable) || (has(self.versions) ? self.stable in self.versions "
            ": !has(self.deployments) || size(self.deployments) == 0 || self.stable in self.deployments)",
            "messageExpression": "'`stable: ' + self.stable + '` is not one of the versions'",
            "fieldPath": ".stable",
        },
    ),
    (
        "spec.stages",
        {
            "rule": "size(self) == 1 || self.all(stage, has(stage.route))",
            "message": "with several stages each must say which route it moves; add `route: <name of the http route>`",
        },
    ),
    (
        "spec.stages",
        {
            "rule": "self.all(stage, !has(stage.route) "
            "|| self.exists_one(other, has(other.route) && other.route == stage.route))",
            "message": "a route already has a stage; join the weights in one stage",
        },
    ),
    (
        "spec.judge.dwell",
        {
            "rule": f"duration({_MIN}) <= duration({_MAX})",
            "messageExpression": f"'`min` (' + {_MIN} + ') is longer than `max` (' + {_MAX} "
            "+ '); raise `max`, or lower `min`'",
        },
    ),
    (
        "spec.alerts",
        {
            "rule": "self.all(name, self.exists_one(other, other == name))",
            "message": "a receiver is named twice; name it once",
        },
    ),
    (
        "spec.schedule",
        {
            "rule": "has(self.forward) || has(self.freeze)",
            "message": "a schedule without `forward` and `freeze` says nothing; write `forward: [Mon-Fri 09:00-17:00]`, or "
            "leave it out",
        },
    ),
)
"""Where each rule stands, and the rule."""
