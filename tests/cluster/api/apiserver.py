"""A real etcd and kube-apiserver on loopback, for one test session: all that the adapter's tests need of a cluster.

The programs are those of the whole bed: in SERIN_CLUSTER_BIN.
"""

import base64
import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.cluster.crd import build_crds

BINARIES: Final = Path(
    os.environ.get("SERIN_CLUSTER_BIN") or os.environ.get("BED_BIN") or Path.home() / ".cache" / "serin" / "bin"
)
PATIENCE_S: Final = 90.0
NOBODY_TOKEN: Final = "tests-nobody-token"
"""Of a user who may do nothing."""

Object = dict[str, Any]


def missing() -> str:
    """Say what is missing to run the real thing; empty: nothing."""
    wanted = [BINARIES / name for name in ("etcd", "kube-apiserver", "istio-crds.yaml")]
    lacking = [path.name for path in wanted if not path.exists()]
    if shutil.which("openssl") is None:
        lacking.append("openssl")
    return f"missing in {BINARIES}: {', '.join(lacking)}" if lacking else ""


@dataclass(frozen=True)
class ApiServer:
    """A running API server, and an administrator's way in."""

    url: str
    token: str
    directory: Path
    etcd_url: str

    @property
    def ca_file(self) -> Path:
        return self.directory / "certs" / "apiserver.crt"

    @property
    def audit_log(self) -> Path:
        return self.directory / "audit.log"

    @functools.cached_property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca_file))

    def kubeconfig(self, name: str = "admin", *, server: str | None = None, token: str | None = None) -> Path:
        """Write a kubeconfig; `server` may be a proxy before the API server."""
        cluster: Object = {"server": server or self.url}
        if cluster["server"].startswith("https"):
            cluster["certificate-authority-data"] = base64.b64encode(self.ca_file.read_bytes()).decode()
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "real",
            "clusters": [{"name": "real", "cluster": cluster}],
            "users": [{"name": name, "user": {"token": token or self.token}}],
            "contexts": [{"name": "real", "context": {"cluster": "real", "user": name}}],
        }
        path = self.directory / f"{name}-{abs(hash(cluster['server'])):x}.kubeconfig"
        path.write_text(json.dumps(config))
        return path

    def call(
        self, method: str, path: str, body: object = None, *, content_type: str = "application/json", **query: str
    ) -> Object:
        """Ask the server as the administrator; raises urllib's HTTPError."""
        url = f"{self.url}{path}" + ("?" + "&".join(f"{k}={v}" for k, v in query.items()) if query else "")
        request = urllib.request.Request(
            url,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": content_type},
            method=method,
        )
        with urllib.request.urlopen(request, context=self.tls, timeout=20) as answer:
            answered: Object = json.loads(answer.read())
            return answered

    def apply(self, path: str, obj: Mapping[str, Any]) -> Object:
        """Server-side apply, as `kubectl apply --server-side` does."""
        return self.call(
            "PATCH", path, obj, content_type="application/apply-patch+yaml", fieldManager="tests", force="true"
        )

    def audited(self, user_agent: str) -> list[Object]:
        """Read from the audit log what a client asked for; of watches, their begin and their end."""
        events = [json.loads(line) for line in self.audit_log.read_text().splitlines()]
        return [event for event in events if event.get("userAgent", "").startswith(user_agent)]

    def apply_crds(self, crds: list[Object]) -> None:
        """Install CRDs, and wait until their objects are served."""
        base = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        for crd in crds:
            self.apply(f"{base}/{crd['metadata']['name']}", crd)
        for crd in crds:
            spec = crd["spec"]
            version = next(version["name"] for version in spec["versions"] if version["served"])
            path = f"/apis/{spec['group']}/{version}/{spec['names']['plural']}"
            _wait(lambda path=path: self._answers(path), path)

    def _answers(self, path: str) -> bool:
        try:
            self.call("GET", path, limit="1")
        except urllib.error.HTTPError as error:
            error.close()
            return False
        return True


@contextlib.contextmanager
def running_api_server(directory: Path, *, crds: list[Object] | None = None) -> Iterator[ApiServer]:
    """Start etcd and kube-apiserver, install CRDs (Istio's and Serin's by default), and stop both at the end."""
    _keys(directory)
    etcd_port, peer_port, port = _free_ports(3)
    etcd_url, peer_url = f"http://127.0.0.1:{etcd_port}", f"http://127.0.0.1:{peer_port}"
    server = ApiServer(f"https://127.0.0.1:{port}", "tests-admin-token", directory, etcd_url)
    (directory / "tokens.csv").write_text(
        f'{server.token},admin,admin,"system:masters"\n{NOBODY_TOKEN},nobody,nobody\n'
    )
    audit = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    }
    (directory / "audit.json").write_text(json.dumps(audit))
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            _process(
                directory,
                "etcd",
                f"--data-dir={directory}/etcd",
                f"--listen-client-urls={etcd_url}",
                f"--advertise-client-urls={etcd_url}",
                f"--listen-peer-urls={peer_url}",
                f"--initial-advertise-peer-urls={peer_url}",
                f"--initial-cluster=default={peer_url}",
                "--unsafe-no-fsync",
                "--log-level=warn",
            )
        )
        process = stack.enter_context(
            _process(
                directory,
                "kube-apiserver",
                f"--etcd-servers={etcd_url}",
                f"--secure-port={port}",
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                "--endpoint-reconciler-type=none",
                "--service-cluster-ip-range=10.96.0.0/16",
                "--authorization-mode=RBAC",
                f"--token-auth-file={directory}/tokens.csv",
                f"--cert-dir={directory}/certs",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-signing-key-file={directory}/sa.key",
                f"--service-account-key-file={directory}/sa.pub",
                f"--audit-policy-file={directory}/audit.json",
                f"--audit-log-path={server.audit_log}",
                "--profiling=false",
                "--disable-admission-plugins=ServiceAccount",  # nobody makes accounts here, and pods need none
            )
        )
        _wait(lambda: _is_ready(server, process), "kube-apiserver is ready")
        server.apply_crds([*istio_crds(), *build_crds()] if crds is None else crds)
        yield server


def istio_crds() -> list[Object]:
    """The CRDs that Serin reads, as Istio ships them."""
    wanted = {"virtualservices.networking.istio.io", "destinationrules.networking.istio.io"}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    documents = yaml.load_all((BINARIES / "istio-crds.yaml").read_text(), Loader=loader)
    return [crd for crd in documents if crd and crd["metadata"]["name"] in wanted]


@contextlib.contextmanager
def _process(directory: Path, name: str, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    with (directory / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([BINARIES / name, *arguments], stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:  # the API server waits for watches that are still open
                process.kill()
                process.wait(10)


def _is_ready(server: ApiServer, process: "subprocess.Popen[bytes]") -> bool:
    assert process.poll() is None, (server.directory / "kube-apiserver.log").read_text()[-3000:]
    if not server.ca_file.exists():
        return False
    try:
        request = urllib.request.Request(f"{server.url}/readyz", headers={"Authorization": f"Bearer {server.token}"})
        with urllib.request.urlopen(request, context=server.tls, timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False


def _wait(condition: Any, what: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, f"{what}: not within {PATIENCE_S:g} s"
        time.sleep(0.1)


def _keys(directory: Path) -> None:
    for command in (
        ["openssl", "genrsa", "-out", "sa.key", "2048"],
        ["openssl", "rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub"],
    ):
        subprocess.run(command, cwd=directory, check=True, capture_output=True)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]
