"""The CanaryPolicy's CRD, as the cluster tests install it."""

from pathlib import Path
from typing import Final

from analyzer.policy.load import load_objects
from analyzer.ports import Object
from tests.cluster.api.apiserver import MINIMAL_POLICY_CRD

DEPLOYED: Final = Path(__file__).parents[2] / "deploy" / "crd" / "canarypolicies.serin.dev.yaml"


def build_policy_crd() -> Object:
    """Give the one that users install; where there is none, one that lets everything pass."""
    if not DEPLOYED.exists():
        return MINIMAL_POLICY_CRD
    return load_objects([DEPLOYED])[0]
