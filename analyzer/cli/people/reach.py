"""Where the API server is, and what went wrong on the way to it: what it is, and how to mend it, in two lines."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

from analyzer.cli.people.policies import near
from analyzer.cli.people.screen import printable
from analyzer.errors import (
    ClusterUnavailable,
    ObjectMissing,
    OutcomeUnknown,
    ReadRefused,
    SerinError,
    TransientError,
    WriteRefused,
)
from analyzer.ports import CANARY_POLICY, Cluster, Object, Ref

_HOME_CONFIG: Final = Path("~/.kube/config")
_IN_POD: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_TIMEOUT_S: Final = 10.0


class Exit(IntEnum):
    """Exit codes."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 4


class Stopped(Exception):
    """The command ends here.

    Parameters
    ----------
    what, mend
        What is wrong, and what to do about it; one line each.
    code
        For the shell.
    """

    def __init__(self, what: str, mend: str, *, code: Exit = Exit.USAGE) -> None:
        self.what, self.mend = (printable(" ".join(text.split())) for text in (what, mend))
        self.code = code
        super().__init__(self.what)


@dataclass(frozen=True, slots=True)
class Place:
    """Where to look, as the person said it."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None
    everywhere: bool = False


@dataclass(frozen=True, slots=True)
class Reached:
    """A cluster to ask.

    Attributes
    ----------
    cluster
        The API server.
    namespace
        Where to look.
    user
        What the kubeconfig calls the user; empty where nobody knows.
    context
        The kubeconfig's name for all this; empty in a pod.
    """

    cluster: Cluster
    namespace: str
    user: str = ""
    context: str = ""


Connector = Callable[[Place], AbstractAsyncContextManager[Reached]]


@asynccontextmanager
async def reach(place: Place) -> AsyncIterator[Reached]:
    """Connect as kubectl does: --kubeconfig, $KUBECONFIG, ~/.kube/config, the pod's service account.

    Raises
    ------
    Stopped
        The credentials cannot be used.
    """
    import logging

    import structlog

    from analyzer.adapters.kube import Credentials, CredentialsInvalid, connect, read_context

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    credentials = Credentials(_kubeconfig(place), place.context)
    try:
        found = read_context(credentials)
        async with connect(credentials, timeout_s=_TIMEOUT_S) as cluster:
            yield Reached(cluster, place.namespace or found.namespace or "default", found.user, found.name)
    except CredentialsInvalid as error:
        mend = "give --kubeconfig FILE and --context NAME, or set KUBECONFIG; `kubectl config get-contexts` lists them"
        raise Stopped(str(error), mend) from error


def _kubeconfig(place: Place) -> str | None:
    """Find the kubeconfig; None: the pod's service account."""
    if place.kubeconfig is not None:
        return place.kubeconfig
    home = _HOME_CONFIG.expanduser()
    named = os.environ.get("KUBECONFIG")
    if named:
        return named
    if home.exists() or not _IN_POD.exists():
        return str(home)
    return None


def explain_failure(error: SerinError | TimeoutError, *, reached: Reached, doing: str) -> Stopped:
    """Say what a failed call means for the person, and how to mend it."""
    context = f" --context {reached.context}" if reached.context else ""
    text = str(error) or "no answer in time"
    if isinstance(error, ObjectMissing) and "does not serve this kind" in text:
        return Stopped(
            "this cluster has no CanaryPolicy: Serin's CRD is not installed",
            f"install it first: kubectl{context} apply -k deploy/crd",
        )
    if isinstance(error, ReadRefused):
        verb = f"kubectl{context} auth can-i list canarypolicies.serin.dev -n {reached.namespace}"
        return Stopped(f"not allowed to {doing}: {text}", f"ask for the right to; `{verb}` tells who may")
    if isinstance(error, WriteRefused):
        return Stopped(f"refused: {text}", f"ask for the right to {doing}; deploy/admission says which verbs there are")
    if isinstance(error, OutcomeUnknown):
        mend = "look whether it arrived: serin explain; then ask again"
        return Stopped(f"nobody knows whether it arrived: {text}", mend, code=Exit.UNREACHABLE)
    if "401" in text and isinstance(error, ClusterUnavailable):
        return Stopped(text, f"log in again, as for `kubectl{context} get namespaces`", code=Exit.UNREACHABLE)
    if isinstance(error, TransientError | TimeoutError):
        mend = (
            f"is this the right context ({reached.context or 'none'})? `kubectl{context} version` asks the same server"
        )
        return Stopped(text, mend, code=Exit.UNREACHABLE)
    return Stopped(text, "look at the object: kubectl get canarypolicies -o yaml")


async def find(reached: Reached, name: str) -> Object:
    """Read one policy.

    Raises
    ------
    Stopped
        There is none of that name (with those that may have been meant), or it cannot be read.
    """
    try:
        return await reached.cluster.get(Ref(CANARY_POLICY, reached.namespace, name))
    except ObjectMissing as error:
        if "does not serve this kind" in str(error):
            raise explain_failure(error, reached=reached, doing="read policies") from error
        raise await _no_such(reached, name) from error
    except (SerinError, TimeoutError) as error:
        raise explain_failure(error, reached=reached, doing="read policies") from error


async def _no_such(reached: Reached, name: str) -> Stopped:
    what = f"there is no policy {name} in namespace {reached.namespace}"
    for namespace in (None, reached.namespace):  # one may be allowed to read one's own namespace only
        try:
            there = (await reached.cluster.list(CANARY_POLICY, namespace=namespace)).items
        except (SerinError, TimeoutError):
            continue
        if not there:
            return Stopped(what, "there is none at all; `serin lint` checks one before you apply it")
        alike = near(name, there, namespace=reached.namespace)
        if alike:
            called = (f"{one.partition('/')[2]} -n {one.partition('/')[0]}" for one in alike)
            return Stopped(what, f"did you mean {', or '.join(called)}?")
        break
    return Stopped(what, "`serin status -A` lists all there are")
