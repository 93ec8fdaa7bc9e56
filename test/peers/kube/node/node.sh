#!/bin/bash
# Process 1 of the node's namespaces: mounts, network, the daemons; then it reaps. up.sh starts it.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/env.sh"

# The mounts are private to the node, and shared inside, as volumes want it.
mount --make-rshared /
# kubelet would set these for the whole machine: it is shown the values that it wants.
for f in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  p=/proc/sys/${f%=*} v=${f#*=}
  [ "$(cat "$p")" != "$v" ] || continue
  n=$state/sysctl/$(tr / _ <<<"${f%=*}")
  mkdir -p "$state/sysctl" && echo "$v" >"$n" && mount --bind "$n" "$p"
done
for d in /run/containerd /var/lib/kubelet /var/log/containers /var/lib/cni /run/netns /usr/libexec/kubernetes; do
  mkdir -p "$d" "$state/m$d" && mount --bind "$state/m$d" "$d"
done
mount --make-rshared /run/netns
mount --bind "$state/resolv.conf" "$(readlink -f /etc/resolv.conf)" # the machine's resolver is out of reach
printf '127.0.0.1 localhost %s\n%s node1\n' "$(hostname)" "$node_ip" >"$state/hosts"
mount --bind "$state/hosts" /etc/hosts

# A veth pair that leads nowhere, and a default route, so that the addresses of Services are routed.
ip link set lo up
ip link add node0 type veth peer name node0p
ip addr add "$node_ip/24" dev node0
ip link set node0 up
ip link set node0p up
ip route add default dev node0
sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null || true

export PATH=$bin:$PATH
start() { # start NAME ARGUMENT…
  local name=$1
  shift
  "$name" "$@" >"$log/$name.log" 2>&1 &
  echo $! >"$state/$name.pid"
}
start etcd --name n1 --data-dir "$state/etcd" --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 --initial-cluster n1=http://127.0.0.1:2380 \
  --unsafe-no-fsync --log-level warn
apiserver() {
  start kube-apiserver --etcd-servers http://127.0.0.1:2379 --bind-address "$node_ip" --advertise-address "$node_ip" --secure-port 6443 \
    --service-cluster-ip-range "$services.0.0/16" --authorization-mode Node,RBAC --token-auth-file "$pki/tokens.csv" --client-ca-file "$pki/ca.crt" \
    --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
    --kubelet-preferred-address-types InternalIP --kubelet-client-certificate "$pki/admin.crt" --kubelet-client-key "$pki/admin.key" \
    --service-account-issuer https://kubernetes.default.svc.cluster.local --service-account-key-file "$pki/sa.pub" \
    --service-account-signing-key-file "$pki/sa.key" --enable-admission-plugins NodeRestriction --allow-privileged=true \
    --requestheader-client-ca-file "$pki/ca.crt" --requestheader-allowed-names front-proxy --requestheader-username-headers X-Remote-User \
    --requestheader-group-headers X-Remote-Group --requestheader-extra-headers-prefix X-Remote-Extra- \
    --proxy-client-cert-file "$pki/front-proxy.crt" --proxy-client-key-file "$pki/front-proxy.key"
}
apiserver
start containerd --config "$state/containerd.toml"
until curl -sf --cacert "$pki/ca.crt" "$api/readyz" >/dev/null; do sleep 0.3; done
start kube-controller-manager --kubeconfig "$state/controllers.kubeconfig" --authentication-kubeconfig "$state/controllers.kubeconfig" \
  --authorization-kubeconfig "$state/controllers.kubeconfig" --bind-address 127.0.0.1 --leader-elect=false --use-service-account-credentials \
  --root-ca-file "$pki/ca.crt" --service-account-private-key-file "$pki/sa.key" --cluster-signing-cert-file "$pki/ca.crt" \
  --cluster-signing-key-file "$pki/ca.key" --service-cluster-ip-range "$services.0.0/16" --cluster-cidr "$pods"
start kube-scheduler --kubeconfig "$state/scheduler.kubeconfig" --authentication-kubeconfig "$state/scheduler.kubeconfig" \
  --authorization-kubeconfig "$state/scheduler.kubeconfig" --bind-address 127.0.0.1 --leader-elect=false
until [ -S "$state/run/containerd/containerd.sock" ]; do sleep 0.2; done
start kubelet --config "$state/kubelet.yaml" --kubeconfig "$state/kubelet.kubeconfig" --root-dir "$state/kubelet" --hostname-override node1 \
  --node-ip "$node_ip" --v=2
# kube-proxy asks once for the node's address.
until kubectl --kubeconfig "$state/admin.kubeconfig" get node node1 >/dev/null 2>&1; do sleep 0.5; done
start kube-proxy --config "$state/kube-proxy.yaml" --hostname-override node1

trap 'exit 0' TERM
# SIGUSR1 starts the API server again, for tests that have killed it.
trap apiserver USR1
while :; do
  sleep 3600 &
  wait $! || true
done
