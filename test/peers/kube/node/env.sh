# What the scripts of this folder share. WEFT_KUBE is where build.sh has put the binaries; WEFT_KUBE_STATE is the folder of
# one node: nodes with folders of their own run beside each other.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=${WEFT_KUBE:-${XDG_CACHE_HOME:-$HOME/.cache}/weft/kube}
state=${WEFT_KUBE_STATE:-$bin/node}
log=$state/log
pki=$state/pki
cgroup=weft-kube-$(printf %s "$state" | sha256sum | cut -c1-8)
node_ip=172.30.0.1
pods=10.244.0.0/24
services=10.96
api=https://$node_ip:6443

say() { echo "$(date +%T) $*"; }

# alive tells whether the node runs.
alive() { [ -s "$state/init.pid" ] && [ -d "/proc/$(cat "$state/init.pid")" ] && [ "$(cat "/proc/$(cat "$state/init.pid")/comm")" = bash ]; }
