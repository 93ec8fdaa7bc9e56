# The files of a new node: keys, users, and the configuration of its daemons. up.sh reads it.

# certificate NAME SUBJECT [ALTERNATIVE NAMES]
certificate() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$pki/$1.key" -out "$pki/$1.csr" -subj "$2" 2>/dev/null
  openssl x509 -req -in "$pki/$1.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 3650 -out "$pki/$1.crt" \
    -extfile <(echo "extendedKeyUsage=serverAuth,clientAuth"; [ -z "${3:-}" ] || echo "subjectAltName=$3") 2>/dev/null
}

keys() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$pki/ca.key" -out "$pki/ca.crt" -days 3650 \
    -subj /CN=cluster -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
  certificate apiserver /CN=kube-apiserver "IP:$node_ip,IP:127.0.0.1,IP:$services.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
  certificate admin /O=system:masters/CN=admin
  certificate front-proxy /CN=front-proxy
  certificate kubelet /CN=node1 "IP:$node_ip,DNS:node1"
  openssl genrsa -out "$pki/sa.key" 2048 2>/dev/null
  openssl rsa -in "$pki/sa.key" -pubout -out "$pki/sa.pub" 2>/dev/null
}

# user FILE NAME GROUP: a token and a kubeconfig.
user() {
  local token
  token=$(openssl rand -hex 16)
  echo "$token,$2,$2,\"$3\"" >>"$pki/tokens.csv"
  cat >"$state/$1.kubeconfig" <<X
apiVersion: v1
kind: Config
clusters: [{name: node, cluster: {server: "$api", certificate-authority-data: $(base64 -w0 "$pki/ca.crt")}}]
users: [{name: $1, user: {token: $token}}]
contexts: [{name: node, context: {cluster: node, user: $1}}]
current-context: node
X
}

users() {
  (
    umask 077
    user admin admin system:masters
    user controllers system:kube-controller-manager ""
    user scheduler system:kube-scheduler ""
    user kubelet system:node:node1 system:nodes
    user proxy system:kube-proxy ""
  )
}

configuration() {
  # Without CAP_SYS_RESOURCE an oom_score_adj below one's own is refused.
  cat >"$state/containerd.toml" <<X
version = 3
root = '$state/containerd'
state = '$state/run/containerd'
disabled_plugins = ['io.containerd.nri.v1.nri', 'io.containerd.internal.v1.tracing', 'io.containerd.tracing.processor.v1.otlp']
[grpc]
  address = '$state/run/containerd/containerd.sock'
[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = 'localhost/pause:v1'
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['/usr/lib/cni']
  conf_dir = '$state/cni'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  BinaryName = '$(command -v runc)'
  SystemdCgroup = false
X
  cat >"$state/cni/10-bridge.conflist" <<X
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$pods"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
X
  echo "nameserver 127.0.0.1" >"$state/resolv.conf"
  # A cgroup of its own, for kubelets remove what they find in theirs.
  cat >"$state/kubelet.yaml" <<X
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$cgroup
containerRuntimeEndpoint: unix://$state/run/containerd/containerd.sock
address: $node_ip
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $pki/kubelet.crt
tlsPrivateKeyFile: $pki/kubelet.key
clusterDNS: [$services.0.10]
clusterDomain: cluster.local
resolvConf: $state/resolv.conf
failSwapOn: false
podLogsDir: $log/pods
volumePluginDir: $state/volplugins
evictionHard: {memory.available: "50Mi", nodefs.available: "1%", nodefs.inodesFree: "1%", imagefs.available: "1%", imagefs.inodesFree: "1%"}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
X
  cat >"$state/kube-proxy.yaml" <<X
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $state/proxy.kubeconfig}
mode: ${KUBE_PROXY_MODE:-nftables}
clusterCIDR: $pods
bindAddress: 0.0.0.0
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
X
}

# cgroups makes the node's cgroup in each hierarchy.
cgroups() {
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mkdir -p "/sys/fs/cgroup/$cgroup"
    return
  fi
  for d in /sys/fs/cgroup/*/; do
    mkdir -p "$d$cgroup"
    # A cpuset begins without processors.
    if [ -e "$d$cgroup/cpuset.cpus" ]; then
      cat "${d}cpuset.cpus" >"$d$cgroup/cpuset.cpus"
      cat "${d}cpuset.mems" >"$d$cgroup/cpuset.mems"
    fi
  done
}
