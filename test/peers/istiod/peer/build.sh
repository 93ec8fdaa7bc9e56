#!/usr/bin/env bash
# Builds istiod (pilot-discovery), pilot-agent and istioctl from Istio's Go module into the folder
# $1, unless they are there. Half an hour of CPU the first time; a package that is
# done is not built again.
#
# Without Kubernetes istiod at this version dies of a nil pointer: standalone.patch
# gives it an empty collection instead. Go takes no overlay for files in its module
# cache, so the module is linked (hard links) to a folder of its own and replaced.
set -euo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")"
export CGO_ENABLED=0 GOFLAGS="-buildvcs=false"
work=$out/src

missing=()
[ -x "$out/pilot-discovery" ] || missing+=(pilot/cmd/pilot-discovery)
[ -x "$out/pilot-agent" ] || missing+=(pilot/cmd/pilot-agent)
[ -x "$out/istioctl" ] || missing+=(istioctl/cmd/istioctl)
[ ${#missing[@]} -gt 0 ] || exit 0

echo "building ${missing[*]} into $out (up to 30 minutes of CPU; progress every 100 packages)"
go mod download istio.io/istio
if [ ! -d "$work/istio" ]; then
  mkdir -p "$work"
  rm -rf "$work/new"
  from=$(go list -m -f '{{.Dir}}' istio.io/istio)
  cp -al "$from" "$work/new" 2>/dev/null || cp -r "$from" "$work/new" # another file system has no hard links
  find "$work/new" -type d -exec chmod u+w {} +
  f=$work/new/pilot/pkg/serviceregistry/serviceentry/controller.go
  cp "$f" "$f.own" && mv -f "$f.own" "$f" && chmod u+w "$f" # no hard link any more
  patch -s -p1 -d "$work/new" <standalone.patch
  mv "$work/new" "$work/istio"
fi
cp go.mod "$work/go.mod"
cp go.sum "$work/go.sum"
echo "replace istio.io/istio => $work/istio" >>"$work/go.mod"
for p in "${missing[@]}"; do
  start=$(date +%s)
  tags=vtprotobuf,disable_pgv # Istio's own
  [ "$p" != pilot/cmd/pilot-agent ] || tags=agent,disable_pgv,grpcnotrace,retrynotrace
  nice go build -v -modfile="$work/go.mod" -p "${WEFT_BUILD_JOBS:-2}" -trimpath -tags "$tags" -ldflags "-s -w" \
    -o "$out/$(basename "$p")" "istio.io/istio/$p" 2>&1 | awk 'NR % 100 == 0 { print "  " NR " packages" } /error|cannot|undefined/ { print }'
  [ -x "$out/$(basename "$p")" ] || { echo "$p was not built" >&2; exit 1; }
  echo "$(basename "$p"): $(($(date +%s) - start)) s"
done
