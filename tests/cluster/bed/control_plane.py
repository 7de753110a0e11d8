"""Kubernetes: etcd, the API server, the controllers."""

import json
from typing import Final

from tests.cluster.bed.components import Recipe
from tests.cluster.bed.pace import CPU_INITIALISATION_S, DOWNSCALE_S, READINESS_DELAY_S, SYNC_S
from tests.cluster.bed.places import API_SERVICE_ADDRESS, API_URL, ETCD_URL, SERVICE_NETWORK, Places

_CONTROLLERS: Final = (
    "clusterrole-aggregation-controller",
    "deployment-controller",
    "disruption-controller",
    "endpoints-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "horizontal-pod-autoscaler-controller",
    "namespace-controller",
    "replicaset-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "validatingadmissionpolicy-status-controller",
)


def etcd(places: Places) -> Recipe:
    """Give the store. Not synced to disk: it need not outlive the machine."""
    argv = (
        places.program("etcd"),
        f"--data-dir={places.directory / 'etcd'}",
        f"--listen-client-urls={ETCD_URL}",
        f"--advertise-client-urls={ETCD_URL}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--unsafe-no-fsync",
        "--log-level=warn",
    )
    return Recipe("etcd", argv, f"{ETCD_URL}/health")


def api_server(places: Places) -> Recipe:
    """Give the API server: RBAC, an audit log of every request, aggregation for metrics.k8s.io."""
    policy = places.directory / "audit-policy.json"
    rules = [{"level": "Metadata"}]
    policy.write_text(
        json.dumps(
            {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules}
        )
    )
    keys, address = places.keys, API_URL.removeprefix("https://")
    host, _, port = address.partition(":")
    argv = (
        places.program("kube-apiserver"),
        f"--etcd-servers={ETCD_URL}",
        f"--bind-address={host}",
        f"--secure-port={port}",
        f"--advertise-address={API_SERVICE_ADDRESS}",
        "--endpoint-reconciler-type=none",
        f"--service-cluster-ip-range={SERVICE_NETWORK}",
        "--authorization-mode=RBAC",
        f"--token-auth-file={keys}/tokens.csv",
        f"--tls-cert-file={keys}/apiserver.crt",
        f"--tls-private-key-file={keys}/apiserver.key",
        f"--client-ca-file={keys}/ca.crt",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={keys}/sa.key",
        f"--service-account-key-file={keys}/sa.pub",
        f"--requestheader-client-ca-file={keys}/front-ca.crt",
        "--requestheader-allowed-names=front-proxy",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={keys}/front-proxy.crt",
        f"--proxy-client-key-file={keys}/front-proxy.key",
        f"--audit-policy-file={policy}",
        f"--audit-log-path={places.audit_log}",
        "--audit-log-maxsize=1000",
        "--shutdown-delay-duration=0s",
        "--profiling=false",
    )
    return Recipe("kube-apiserver", argv, f"{API_URL}/readyz")


def controllers(places: Places) -> Recipe:
    """Give the controllers that make pods of Deployments, endpoints of pods, and replicas of load."""
    argv = (
        places.program("kube-controller-manager"),
        f"--kubeconfig={places.kubeconfig}",
        "--leader-elect=false",
        f"--root-ca-file={places.authority}",
        f"--service-account-private-key-file={places.keys}/sa.key",
        f"--controllers={','.join(_CONTROLLERS)}",
        f"--horizontal-pod-autoscaler-sync-period={SYNC_S:g}s",
        f"--horizontal-pod-autoscaler-downscale-stabilization={DOWNSCALE_S:g}s",
        f"--horizontal-pod-autoscaler-initial-readiness-delay={READINESS_DELAY_S:g}s",
        f"--horizontal-pod-autoscaler-cpu-initialization-period={CPU_INITIALISATION_S:g}s",
        "--bind-address=127.0.0.1",
        f"--cert-dir={places.directory / 'controllers'}",
    )
    return Recipe("kube-controller-manager", argv)
