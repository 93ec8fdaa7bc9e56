#!/bin/bash
# Builds parts of Kubernetes from their Go modules into the folder that is named: etcd and kube-apiserver, which most
# tests of this folder run, or with "node" all that a node has. What is there is kept. The first time it takes some
# ten minutes of CPU, and some 25 with "node".
set -euo pipefail
version=v1.36.3
containerd=v2.3.7
coredns=v1.14.7
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
to=$(mkdir -p "$1" && cd "$1" && pwd)
export CGO_ENABLED=0 GOFLAGS=-mod=mod

# module DIR MODULE VERSION: a go.mod with all pins of the module; what its repository replaces by folders (Kubernetes'
# v0.0.0) has versions of its own.
module() {
  [ ! -s "$1/go.mod" ] || return 0
  mkdir -p "$1"
  local from
  from=$(cd / && go mod download -json "$2@$3" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  sed -e 's#^module .*#module example.invalid/build#' -e '/^replace (/,/^)/d' -e "s# v0\.0\.0\$# v0.${3#v1.}#" "$from/go.mod" |
    sed "0,/^require (/s##require (\n\t$2 $3#" >"$1/go.mod"
  cp "$from/go.sum" "$1/go.sum"
}

# build NAME DIR PACKAGE [TAGS]
build() {
  [ ! -x "$to/$1" ] || return 0
  echo "go build $1" >&2
  (cd "$2" && nice go build -trimpath -buildvcs=false -tags "${4:-}" -ldflags "-s -w $flags" -o "$to/$1.part" "$3" && mv "$to/$1.part" "$to/$1")
}

# kubelet and the API server compare versions.
v=k8s.io/component-base/version
flags="-X $v.gitVersion=$version -X $v.gitMajor=1 -X $v.gitMinor=$(echo "$version" | cut -d. -f2) -X $v.gitTreeState=clean -X $v.buildDate=2026-01-01T00:00:00Z"
module "$to/src" k8s.io/kubernetes $version
build etcd "$to/src" go.etcd.io/etcd/server/v3
build kube-apiserver "$to/src" k8s.io/kubernetes/cmd/kube-apiserver
[ "${2:-}" = node ] || exit 0

for c in kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do build $c "$to/src" k8s.io/kubernetes/cmd/$c; done
flags="-X github.com/containerd/containerd/v2/version.Version=${containerd#v}"
module "$to/src-containerd" github.com/containerd/containerd/v2 $containerd
for c in containerd containerd-shim-runc-v2 ctr; do
  build $c "$to/src-containerd" github.com/containerd/containerd/v2/cmd/$c no_btrfs,no_devmapper,no_zfs
done
flags=
module "$to/src-coredns" github.com/coredns/coredns $coredns
cp "$here/node/testdata/coredns/main.go" "$to/src-coredns/"
build coredns "$to/src-coredns" .
