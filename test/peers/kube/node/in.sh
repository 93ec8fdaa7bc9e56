#!/bin/bash
# in.sh COMMAND…: runs a command in the node: its network, mounts and processes, and kubectl's configuration.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/env.sh"
alive || { echo "no node runs in $state: start it with up.sh" >&2; exit 1; }
export PATH=$bin:$PATH KUBECONFIG=$state/admin.kubeconfig CONTAINERD_ADDRESS=$state/run/containerd/containerd.sock
exec nsenter -t "$(cat "$state/init.pid")" -n -m -p --wd="$PWD" -- "$@"
