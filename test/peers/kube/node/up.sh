#!/bin/bash
# Starts a Kubernetes of one node and waits until it is ready; one that runs is kept. The parts are built when they are not
# there (../build.sh). As root, on Linux.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/env.sh"
. "$here/config.sh"

missing=()
for c in runc:runc iptables:iptables nft:nftables conntrack:conntrack ipset:ipset curl:curl openssl:openssl sysctl:procps; do
  command -v "${c%:*}" >/dev/null || missing+=("${c#*:}")
done
[ -x /usr/lib/cni/bridge ] || missing+=(containernetworking-plugins)
if [ ${#missing[@]} -gt 0 ]; then
  say "apt-get install ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends "${missing[@]}" >/dev/null
fi
"$here/../build.sh" "$bin" node

if alive; then
  say "it runs already"
else
  "$here/down.sh"
  mkdir -p "$log" "$pki" "$state/run" "$state/cni" "$state/images"
  keys
  users
  configuration
  cgroups
  setsid unshare --net --mount --pid --fork --kill-child --mount-proc --propagation private bash "$here/node.sh" >"$log/node.log" 2>&1 </dev/null &
  u=$!
  for _ in $(seq 50); do
    i=$(tr -d ' ' <"/proc/$u/task/$u/children" 2>/dev/null) && [ -n "$i" ] && break
    sleep 0.1
  done
  echo "$i" >"$state/init.pid"
fi

inside() { "$here/in.sh" "$@"; }
# wait_for SECONDS WHAT COMMAND…: a daemon that has ended is named.
wait_for() {
  local n=$1 what=$2
  shift 2
  for _ in $(seq "$n"); do
    ! "$@" >/dev/null 2>&1 || return 0
    for p in "$state"/*.pid; do
      c=$(basename "$p" .pid)
      case $c in init) continue ;; esac
      if ! inside test -d "/proc/$(cat "$p")"; then
        say "$c has ended:" && tail -5 "$log/$c.log" >&2
        exit 1
      fi
    done
    sleep 1
  done
  say "never: $what" >&2
  exit 1
}
wait_for 120 "the API server answers" inside kubectl get --raw /readyz
wait_for 60 "containerd answers" inside ctr version

# Images without a registry: the pause container, a program for tests, and CoreDNS.
(cd "$here/../../../.." && CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$bin/app" ./test/peers/kube/app && CGO_ENABLED=0 go build -o "$bin/archive" ./test/peers/kube/archive)
"$bin/archive" -o "$state/images/pause.tar" -tag localhost/pause:v1 -entrypoint /pause "$bin/app=/pause"
"$bin/archive" -o "$state/images/app.tar" -tag localhost/app:v1 -entrypoint /app "$bin/app=/app"
"$bin/archive" -o "$state/images/coredns.tar" -tag localhost/coredns:v1 -entrypoint /coredns "$bin/coredns=/coredns"
for t in pause app coredns; do inside ctr -n k8s.io images import "$state/images/$t.tar" >/dev/null; done

ready() { [ "$(inside kubectl get node node1 -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ]; }
wait_for 120 "the node is ready" ready
inside kubectl apply -f "$here/dns.yaml" >/dev/null
inside kubectl -n kube-system rollout status deploy/coredns --timeout=120s
say "ready: $here/in.sh kubectl get pods -A"
