"""What is used of kubernetes-asyncio, without its 700 generated models: half of its import time, and 30 MB.

Its packages import everything when they are imported. So they are first put in place empty, and filled with the few modules
that are used here. Whoever asks such a package for anything else has it imported as it always is.
"""

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any, Final

_ROOT: Final = "kubernetes_asyncio"
_CLIENT: Final = "kubernetes_asyncio.client"
_MODELS: Final = "kubernetes_asyncio.client.models"


class _Emptied(ModuleType):
    """A package whose own code is run only when something is missed in it."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever the package has
        if name.startswith("__") or self.__spec__ is None or self.__spec__.loader is None:
            raise AttributeError(name)
        if find_spec(f"{self.__name__}.{name}") is not None:
            return import_module(f"{self.__name__}.{name}")
        self.__class__ = ModuleType  # type: ignore[assignment]  # from now on it is like any other
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def _put(name: str) -> ModuleType:
    spec = find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(name)
    package = module_from_spec(spec)
    package.__class__ = _Emptied
    sys.modules[name] = package
    parent, _, own = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], own, package)
    return package


def _load() -> None:
    """Put the packages in place, unless somebody imported them before; their modules look for two classes in `client`."""
    if _ROOT in sys.modules:
        return
    _put(_ROOT)
    client = _put(_CLIENT)
    _put(_MODELS)
    for module, name in (("configuration", "Configuration"), ("api_client", "ApiClient")):
        setattr(client, name, getattr(import_module(f"{_CLIENT}.{module}"), name))


_load()

from kubernetes_asyncio.client.api_client import ApiClient  # noqa: E402  the packages must be in place
from kubernetes_asyncio.client.configuration import Configuration  # noqa: E402
from kubernetes_asyncio.client.exceptions import ApiException  # noqa: E402
from kubernetes_asyncio.config import ConfigException, load_incluster_config, load_kube_config  # noqa: E402
from kubernetes_asyncio.config.kube_config import list_kube_config_contexts  # noqa: E402

__all__ = [
    "ApiClient",
    "ApiException",
    "ConfigException",
    "Configuration",
    "list_kube_config_contexts",
    "load_incluster_config",
    "load_kube_config",
]
