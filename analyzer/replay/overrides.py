"""Overrides of `spec.judge`, read by the policy's own parser and refused in its own words."""

import json
from dataclasses import dataclass, field, replace
from typing import Any, Final

from analyzer.policy.model import API_VERSION, KIND, CanaryPolicy
from analyzer.policy.parse import read_policy
from analyzer.replay.fields import Fault

_MAX_KEPT: Final = 1000
_PREFIX: Final = ("spec", "judge")


@dataclass(slots=True)
class Overrides:
    """Policies by their overrides: thousands of rollouts mostly share one."""

    _kept: dict[str, CanaryPolicy] = field(default_factory=dict)

    def policy(self, judge: dict[str, Any]) -> CanaryPolicy:
        """Build the policy that has these fields in `spec.judge`, and defaults elsewhere.

        Raises
        ------
        Fault
            With every problem in the overrides.
        """
        key = json.dumps(judge)
        if key not in self._kept:
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            self._kept[key] = policy_of(judge)
        return self._kept[key]


def policy_of(judge: dict[str, Any]) -> CanaryPolicy:
    """Build a policy of a rollout that is known by its counts only.

    Raises
    ------
    Fault
        With every problem in the overrides.
    """
    spec = {"target": {"virtualService": "recorded"}, "judge": judge}
    read = read_policy({"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "recorded"}, "spec": spec})
    if isinstance(read, CanaryPolicy):
        return read
    problems = [replace(problem, path=("policy", *problem.path[len(_PREFIX) :])) for problem in read]
    *others, last = problems
    raise Fault("; ".join([*map(str, others), f"{last}".removesuffix(f"; {last.mend}")]), last.mend)
