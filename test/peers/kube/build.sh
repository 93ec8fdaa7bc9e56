#!/bin/bash
# Builds the etcd and the kube-apiserver that the tests of this folder run, from their Go modules, into the folder
# that is named. The first time it takes some ten minutes of CPU.
set -euo pipefail
version=v1.36.3
to=$(mkdir -p "$1" && cd "$1" && pwd)
export CGO_ENABLED=0 GOFLAGS=-mod=mod
if [ ! -s "$to/src/go.mod" ]; then
  mkdir -p "$to/src"
  from=$(cd / && go mod download -json "k8s.io/kubernetes@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  # Kubernetes' own pins; what its repository replaces by folders has versions of its own.
  sed -e 's#^module .*#module example.invalid/build#' -e '/^replace (/,/^)/d' -e "s# v0\.0\.0\$# v0.${version#v1.}#" "$from/go.mod" |
    sed "0,/^require (/s##require (\n\tk8s.io/kubernetes $version#" >"$to/src/go.mod"
  cp "$from/go.sum" "$to/src/go.sum"
fi
for p in etcd=go.etcd.io/etcd/server/v3 kube-apiserver=k8s.io/kubernetes/cmd/kube-apiserver; do
  name=${p%%=*}
  [ -x "$to/$name" ] && continue
  echo "go build $name" >&2
  (cd "$to/src" && nice go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$to/$name.part" "${p#*=}" && mv "$to/$name.part" "$to/$name")
done
