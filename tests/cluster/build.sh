#!/usr/bin/env bash
# Builds the cluster's programs from the Go modules in go/, and tells where they are (`--where`: only that).
#
# They go to a folder named after all that decides what they are, in the user's cache: nothing is built twice, and several
# checkouts share them. Exit code 77: Go is missing or too old; what to do is said.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

missing() {
  printf 'The cluster tests need %s\n' "$1" >&2
  exit 77
}

command -v go >/dev/null || missing "Go, to build a Kubernetes and an istiod: https://go.dev/dl, or apt-get install golang-go."
cd "$here/go"
said=$(go list -m 2>&1) || missing "a newer Go than this one, which says: $said"
compiler=$(go env GOVERSION)
key=$(cat "$here/build.sh" go.mod go.sum helm/go.mod helm/go.sum "$here"/install/readers/{*.go,go.*} <(echo "$compiler") |
  sha256sum | cut -c1-12)
cache=${SERIN_CLUSTER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/serin/cluster}
bin=$cache/$key
if [ "${1:-}" = --where ]; then
  echo "$bin"
  exit
fi
mkdir -p "$bin"
exec 9>"$bin/.lock"
flock 9 # two checkouts may start at once

version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
IFS=. read -r major minor _ <<<"${version#v}"
stamp=k8s.io/component-base/version # clients parse the server's version: without it they take fright
kubernetes="-X $stamp.gitVersion=$version -X $stamp.gitMajor=$major -X $stamp.gitMinor=$minor"

# build NAME FOLDER PACKAGE [LDFLAGS]: a rename makes it whole or absent. Without inlining it takes half the time, and what it makes
# is quick enough.
build() {
  [ -x "$bin/$1" ] && return
  local begun=$SECONDS
  printf 'Building %s …' "$1"
  (cd "$2" && nice go build -p 2 -trimpath -gcflags=all=-l -ldflags="-s -w ${4:-}" -o "$bin/.$1" "$3") || { echo; return 1; }
  mv "$bin/.$1" "$bin/$1"
  printf ' %d s\n' "$((SECONDS - begun))"
}

build etcd . go.etcd.io/etcd/server/v3
build kube-apiserver . k8s.io/kubernetes/cmd/kube-apiserver "$kubernetes"
build kube-controller-manager . k8s.io/kubernetes/cmd/kube-controller-manager "$kubernetes"
build kubectl . k8s.io/kubernetes/cmd/kubectl "$kubernetes"
build pilot-discovery . istio.io/istio/pilot/cmd/pilot-discovery
build helm helm helm.sh/helm/v3/cmd/helm
build readers "$here/install/readers" .
if [ ! -e "$bin/istio-crds.yaml" ]; then
  # Istio's CustomResourceDefinitions are of the same module, and so of the same version.
  cp "$(go list -m -f '{{.Dir}}' istio.io/istio)/manifests/charts/base/files/crd-all.gen.yaml" "$bin/.crds"
  chmod u+w "$bin/.crds" && mv "$bin/.crds" "$bin/istio-crds.yaml"
fi

# crds FILE MODULE@VERSION FOLDER KIND…: definitions of the tools that deploy/ has resources for, as they ship them; nothing is built
crds() {
  [ -e "$bin/$1" ] && return
  local folder
  folder=$(cd / && go mod download -json "$2" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')/$3
  (cd "$folder" && for kind in "${@:4}"; do cat "$kind"; echo ---; done) >"$bin/.crds"
  mv "$bin/.crds" "$bin/$1"
}

crds argocd-crds.yaml github.com/argoproj/argo-cd/v3@v3.4.13 manifests/crds application-crd.yaml
crds flux-crds.yaml github.com/fluxcd/kustomize-controller@v1.9.6 config/crd/bases kustomize.toolkit.fluxcd.io_kustomizations.yaml
crds prometheus-crds.yaml github.com/prometheus-operator/prometheus-operator@v0.85.0 example/prometheus-operator-crd \
  monitoring.coreos.com_podmonitors.yaml monitoring.coreos.com_prometheusrules.yaml
