"""Serin as `kubectl apply -k` deploys it: its kinds, its account with its roles, and the policies that bound what it writes.

All but the pods, whose image no kubelet here pulls: replicas run beside the cluster (`serin.py`), with the Deployment's
arguments and environment, and each with a token of the account, as each pod has one.
"""

import json
import os
import sys
from base64 import urlsafe_b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster.bed.client import Bed, KubectlFailed, until
from tests.cluster.bed.keys import write_kubeconfig

NAMESPACE: Final = "serin-system"
ACCOUNT: Final = f"system:serviceaccount:{NAMESPACE}:serin"
_DEPLOY: Final = Path(__file__).parents[2] / "deploy"
_CRDS: Final = ("crd/canarypolicies.serin.dev", "crd/canarydefaults.serin.dev")
_TOKEN_LASTS: Final = "8h"  # longer than any test

# --- whether the admission policies are in force ----------------------------------------------------------------------

PROBE: Final = (
    *("create", "--dry-run=server", f"--namespace={NAMESPACE}", "--filename=-"),
    *(f"--as={ACCOUNT}", "--as-group=system:masters"),
)
"""kubectl's arguments for `probes`: by Serin's name, and with all rights, so that nothing but a policy can refuse them."""


def probes() -> str:
    """Write what each admission policy of deploy/ has to refuse: kubectl's standard input for `PROBE`."""
    kind = {"apiVersion": "serin.dev/v1alpha1", "kind": "CanaryPolicy"}
    target = {"virtualService": "probe"}
    route = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "probe"},
        "spec": {"hosts": ["probe"], "http": [{"route": [{"destination": {"host": "probe"}}]}]},
    }
    endless = {**kind, "metadata": {"name": "probe"}, "spec": {"target": target, "stages": [{"weights": [10, 50]}]}}
    forged = {
        **kind,
        "metadata": {"name": "probe", "annotations": {"serin.dev/request": "?"}},
        "spec": {"target": target},
    }
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [route, endless, forged]})


def all_refused(said: str) -> bool:
    """Tell by what kubectl said of the probes whether each policy is in force."""
    return all(f"'{name}.serin.dev' denied request" in said for name in ("weights-only", "canarypolicies", "requests"))


# --- the deployment ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Token:
    """A token of Serin's account.

    Attributes
    ----------
    id
        By which the audit log tells the account's tokens from each other.
    """

    kubeconfig: Path
    id: str


@dataclass(frozen=True, slots=True)
class Deployment:
    """Serin's, as the API server has it.

    Attributes
    ----------
    folder
        For kubeconfigs and the replicas' logs.
    command
        What its container runs, with the interpreter of the tests; of options that are repeated after it, the last one counts.
    """

    bed: Bed
    folder: Path
    command: tuple[str, ...]

    async def issue_token(self, name: str) -> Token:
        """Make a token for one replica, and a kubeconfig with it."""
        token = (
            await self.bed.kubectl("create", "token", f"--namespace={NAMESPACE}", "serin", f"--duration={_TOKEN_LASTS}")
        ).strip()
        path = self.folder / f"kubeconfig-{name}"
        write_kubeconfig(path, token=token, authority=self.bed.places.authority, namespace=NAMESPACE)
        return Token(path, _token_id(token))


async def deploy(bed: Bed, folder: Path, *, components: Sequence[str] = ()) -> Deployment:
    """Apply deploy/overlays/cluster with some of deploy/components, and wait until all of it is in force.

    What an earlier call with other components gave is taken back: roles are what this call makes of them.
    """
    overlay = _write_overlay(folder, components)
    await bed.kubectl("apply", "--server-side", "--field-manager=pipeline", "--kustomize", str(overlay))
    await bed.kubectl("wait", "--for=condition=Established", *_CRDS)

    async def in_force() -> bool:
        return all_refused(await _said_of_probes(bed))

    await until(in_force, what="the admission policies are in force")
    found = await bed.get(NAMESPACE, "deployment/serin")
    (container,) = found["spec"]["template"]["spec"]["containers"]
    environment = [f"{entry['name']}={entry['value']}" for entry in container["env"]]
    return Deployment(bed, folder, ("env", *environment, sys.executable, "-m", "analyzer", *container["args"]))


def _write_overlay(folder: Path, components: Sequence[str]) -> Path:
    """Write what an operator keeps in a repository of their own: the project's overlay, and what is different."""
    overlay = folder / "overlay"
    overlay.mkdir()
    deploy = Path(os.path.relpath(_DEPLOY, overlay.resolve()))  # kustomize takes no absolute paths
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [str(deploy / "overlays" / "cluster")],
        "components": [str(deploy / "components" / name) for name in components],
        "replicas": [{"name": "serin", "count": 0}],
    }
    (overlay / "kustomization.yaml").write_text(json.dumps(kustomization))  # JSON is YAML
    return overlay


async def _said_of_probes(bed: Bed) -> str:
    try:
        return await bed.kubectl(*PROBE, stdin=probes())
    except KubectlFailed as error:
        return str(error)


def _token_id(token: str) -> str:
    """Read a JSON Web Token's id, as an audit event has it among `user.extra`."""
    payload = token.split(".")[1]
    claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return f"JTI={claims['jti']}"
