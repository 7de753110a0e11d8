"""Where the API server is and who we are: a pod's service account, or a kubeconfig."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from analyzer import __version__
from analyzer.adapters.kube.api import Api
from analyzer.adapters.kube.cluster import KubeCluster
from analyzer.adapters.kube.library import (
    ApiClient,
    ConfigException,
    Configuration,
    list_kube_config_contexts,
    load_incluster_config,
    load_kube_config,
)
from analyzer.errors import TerminalError

_OWN_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_REFRESH_S: Final = 60.0
_PLUGIN_S: Final = 30.0


class CredentialsInvalid(TerminalError):
    """The kubeconfig, or the pod's service account, cannot be used."""

    reason = "CredentialsInvalid"


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to find the API server.

    Attributes
    ----------
    kubeconfig
        A file, or several joined with `:` as in $KUBECONFIG; None: the pod's service account.
    context
        Of the kubeconfig; None: its current one.
    """

    kubeconfig: str | None = None
    context: str | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What a kubeconfig says of itself; empty strings where it says nothing.

    Attributes
    ----------
    name
        Of the context.
    namespace
        Where its commands look without being told.
    user
        Its name for the user, which need not be the API server's.
    others
        Names of all contexts.
    """

    name: str
    namespace: str
    user: str
    others: tuple[str, ...] = ()


def read_context(credentials: Credentials) -> Context:
    """Read which context is meant.

    Raises
    ------
    CredentialsInvalid
        There is no such file or context, or the file is no kubeconfig.
    """
    path = credentials.kubeconfig
    if path is None:
        return Context("", _OWN_NAMESPACE.read_text().strip() if _OWN_NAMESPACE.exists() else "", "")
    _check_there(path)
    try:
        contexts, current = list_kube_config_contexts(path)
    except Exception as error:  # the library checks little: whatever is wrong in the file can raise anything
        raise CredentialsInvalid(f"kubeconfig {path}: {str(error) or type(error).__name__}") from error
    names = tuple(str(found["name"]) for found in contexts)
    wanted = credentials.context
    found = current if wanted is None else next((c for c in contexts if c["name"] == wanted), None)
    if found is None:
        said = f"there is no context {wanted}" if wanted else "it has no current context"
        raise CredentialsInvalid(f"kubeconfig {path}: {said}; there are: {', '.join(names) or 'none'}")
    inner = found.get("context") or {}
    return Context(str(found["name"]), str(inner.get("namespace") or ""), str(inner.get("user") or ""), names)


@asynccontextmanager
async def connect(
    credentials: Credentials, *, timeout_s: float = 10.0, watch_s: float = 1800.0
) -> AsyncIterator[KubeCluster]:
    """Give the cluster that `credentials` lead to; nothing is asked of it yet.

    The times are those of `KubeCluster`. Proxies are taken from the environment: HTTPS_PROXY, and NO_PROXY, which must name
    the API server's host exactly, for CIDRs in it are not understood.

    Raises
    ------
    CredentialsInvalid
        With the file, and what is wrong with it.
    """
    # At DEBUG it logs whole bodies, Secrets included.
    logging.getLogger("kubernetes_asyncio.client.rest").setLevel(logging.INFO)
    configuration = await load_configuration(credentials)
    try:
        client = ApiClient(configuration)
    except (OSError, ValueError) as error:
        raise CredentialsInvalid(f"the certificates for {configuration.host} cannot be used: {error}") from error
    client.user_agent = f"serin/{__version__}"
    try:
        yield KubeCluster(Api(client), timeout_s=timeout_s, watch_s=watch_s)
    finally:
        await client.close()


async def load_configuration(credentials: Credentials) -> Configuration:
    """Read the credentials; tokens are refreshed as they rotate.

    Raises
    ------
    CredentialsInvalid
        They cannot be read.
    """
    configuration = Configuration()
    if credentials.kubeconfig is None:
        _load_pod(configuration)
    else:
        await _load_file(configuration, credentials.kubeconfig, credentials.context)
    return configuration


def _load_pod(configuration: Configuration) -> None:
    try:
        load_incluster_config(client_configuration=configuration)
    except (ConfigException, OSError) as error:
        raise CredentialsInvalid(
            f"no service account of a pod is here ({error}): outside of a cluster, give --kubeconfig FILE"
        ) from error


async def _load_file(configuration: Configuration, path: str, context: str | None) -> None:
    _check_there(path)
    try:
        async with asyncio.timeout(_PLUGIN_S):
            loader = await load_kube_config(
                config_file=path, context=context, client_configuration=configuration, persist_config=False
            )
    except TimeoutError:
        raise CredentialsInvalid(f"kubeconfig {path}: its exec plugin did not end within {_PLUGIN_S:g} s") from None
    except Exception as error:  # the library checks little: whatever is wrong in the file can raise anything
        raise CredentialsInvalid(f"kubeconfig {path}: {str(error) or type(error).__name__}") from error
    user = loader._user.value if loader._user is not None else {}  # noqa: SLF001  it has no other way to tell
    if "exec" in user:
        configuration.refresh_api_key_hook = _each(_REFRESH_S, lambda: _run_plugin(loader, configuration))
    elif "tokenFile" in user:
        configuration.refresh_api_key_hook = _each(_REFRESH_S, lambda: _read_token(loader, configuration))


def _check_there(path: str) -> None:
    files = [Path(part).expanduser() for part in path.split(os.pathsep) if part]
    if not any(file.is_file() for file in files):
        raise CredentialsInvalid(f"kubeconfig {path}: there is no such file")


def _each(period_s: float, refresh: Callable[[], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    """Refresh once a period, however many requests ask at the same time."""
    lock = asyncio.Lock()
    due_s = time.monotonic() + period_s

    async def hook(_configuration: Any) -> None:  # noqa: ANN401  the library's own type is not typed
        nonlocal due_s
        async with lock:
            if time.monotonic() >= due_s:
                await refresh()
                due_s = time.monotonic() + period_s

    return hook


async def _run_plugin(loader: Any, configuration: Configuration) -> None:  # noqa: ANN401  not typed
    """Ask the exec plugin again; one that told no expiry is asked once only."""
    if hasattr(loader, "exec_plugin_expiry"):
        await loader.load_from_exec_plugin()
        configuration.api_key["BearerToken"] = loader.token


async def _read_token(loader: Any, configuration: Configuration) -> None:  # noqa: ANN401  not typed
    loader._load_user_token()  # noqa: SLF001  what it does at start, and offers nowhere else
    configuration.api_key["BearerToken"] = loader.token
