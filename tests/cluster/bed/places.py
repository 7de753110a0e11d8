"""Where everything is. The network namespace is the bed's own, so no port needs to be looked for."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

API_URL: Final = "https://127.0.0.1:6443"
ETCD_URL: Final = "http://127.0.0.1:2379"
METRICS_API_PORT: Final = 4443  # metrics.k8s.io
ISTIOD_GRPC: Final = ("127.0.0.1", 15010)
ISTIOD_HTTP: Final = "127.0.0.1:8080"
ISTIOD_WEBHOOK: Final = ("127.0.0.1", 15017)
ENVOY_ADMIN: Final = ("127.0.0.1", 15000)
PROMETHEUS_URL: Final = "http://127.0.0.1:9090"
CONTROL_URL: Final = "http://127.0.0.1:9999"

POD_NETWORK: Final = "10.244.0.0/16"
GATEWAY_ADDRESS: Final = "10.244.255.1"
GATEWAY_PORT: Final = 8000
GATEWAY_URL: Final = f"http://{GATEWAY_ADDRESS}:{GATEWAY_PORT}"
NODE_ADDRESS: Final = "10.244.255.254"
SERVICE_NETWORK: Final = "10.96.0.0/16"
API_SERVICE_ADDRESS: Final = "10.96.0.1"
POD_METRICS_PORT: Final = 15020  # where Istio's agent has them

ADMIN_TOKEN: Final = "admin-of-the-bed"  # known to nobody outside the namespace
NODE: Final = "bed"
ISTIO_NAMESPACE: Final = "istio-system"

_BUILD: Final = Path(__file__).parents[1] / "build.sh"


@dataclass(frozen=True, slots=True)
class Places:
    """Files of one bed.

    Attributes
    ----------
    directory
        Logs, data, keys: all that it writes.
    programs
        What `build.sh` built.
    """

    directory: Path
    programs: Path

    @classmethod
    def of(cls, directory: Path) -> "Places":
        """Find the programs: where the environment says, or where `build.sh` puts them."""
        told = os.environ.get("SERIN_CLUSTER_BIN")
        found = told or subprocess.run([_BUILD, "--where"], check=True, capture_output=True, text=True).stdout.strip()
        return cls(directory.resolve(), Path(found))

    @property
    def keys(self) -> Path:
        """Keys and certificates."""
        return self.directory / "keys"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.directory / "kubeconfig"

    @property
    def authority(self) -> Path:
        """The certificate that signed the API server's."""
        return self.keys / "ca.crt"

    @property
    def audit_log(self) -> Path:
        """Every request to the API server, one JSON object a line."""
        return self.directory / "audit.log"

    def program(self, name: str) -> str:
        """Give a program's path."""
        return str(self.programs / name)
