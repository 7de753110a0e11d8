"""Certificates, made by openssl: elliptic keys, because they take milliseconds."""

import json
import subprocess
from base64 import b64encode
from pathlib import Path
from typing import Final

from tests.cluster.bed.places import ADMIN_TOKEN, API_SERVICE_ADDRESS, API_URL, ISTIO_NAMESPACE, Places

_CURVE: Final = ("-pkeyopt", "ec_paramgen_curve:P-256")
_AUTHORITIES: Final = ("ca", "front-ca")
_LEAVES: Final = {
    "apiserver": ("ca", f"DNS:localhost,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:{API_SERVICE_ADDRESS}"),
    "metrics": ("ca", "DNS:localhost"),
    "istiod": ("ca", f"DNS:istiod.{ISTIO_NAMESPACE}.svc,IP:127.0.0.1"),
    "front-proxy": ("front-ca", ""),
}


def make_keys(places: Places) -> None:
    """Make two authorities, the servers' certificates, the service accounts' key, and the administrator's kubeconfig."""
    folder = places.keys
    folder.mkdir()
    (folder / "openssl.cnf").write_text("[req]\ndistinguished_name = dn\n[dn]\n")
    for name in _AUTHORITIES:
        _certify(
            folder, name, "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"
        )
    for name, (authority, names) in _LEAVES.items():
        extensions = ("-addext", f"subjectAltName={names}") if names else ()
        _certify(folder, name, "-CA", f"{authority}.crt", "-CAkey", f"{authority}.key", *extensions)
    _openssl(folder, "genpkey", "-algorithm", "EC", *_CURVE, "-out", "sa.key")
    _openssl(folder, "pkey", "-in", "sa.key", "-pubout", "-out", "sa.pub")
    (folder / "tokens.csv").write_text(f'{ADMIN_TOKEN},admin,admin,"system:masters"\n')
    write_kubeconfig(places.kubeconfig, token=ADMIN_TOKEN, authority=places.authority)


def write_kubeconfig(
    path: Path, *, token: str, authority: Path, server: str = API_URL, namespace: str = "default"
) -> None:
    """Write a kubeconfig with one context. `server` may be a proxy's address."""
    certificate = b64encode(authority.read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "bed",
        "clusters": [{"name": "bed", "cluster": {"server": server, "certificate-authority-data": certificate}}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "bed", "context": {"cluster": "bed", "user": "user", "namespace": namespace}}],
    }
    path.write_text(json.dumps(config))  # JSON is YAML
    path.chmod(0o600)


def _certify(folder: Path, name: str, *options: str) -> None:
    key = ("-newkey", "ec", *_CURVE, "-nodes", "-keyout", f"{name}.key")
    made = ("-x509", "-days", "30", "-subj", f"/CN={name}", "-out", f"{name}.crt")
    _openssl(folder, "req", "-config", "openssl.cnf", *made, *key, *options)


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
