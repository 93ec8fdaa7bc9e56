package registries

import (
	"fmt"
	"testing"
)

// slimeBootYAML is meshregistry as Slime's users write it, beside one of its RegistrySources.
const slimeBootYAML = `apiVersion: config.netease.com/v1alpha1
kind: SlimeBoot
metadata: {name: meshregistry, namespace: mesh-operator}
spec:
  module:
  - name: meshregistry
    kind: meshregistry
    enable: %v
    general:
      LEGACY:
        Mcp: {EnableIncPush: false}
        ZookeeperSource: {Enabled: true, RefreshPeriod: 30s, WaitTime: 10s, Address: [%q], DefaultServiceNs: dubbo, HostSuffix: .zk, EnableEmptyProtection: false}
---
apiVersion: microservice.slime.io/v1alpha1
kind: RegistrySource
metadata: {name: source, namespace: mesh-operator}
spec: {zookeeper: {globalAbnormalInstanceIPs: {bad: [10.0.0.2]}}}
`

// TestSlimeBoot: what meshregistry of a SlimeBoot names is followed, as Slime's settings say, until the module is off.
func TestSlimeBoot(t *testing.T) {
	t.Parallel()
	e := zookeeper(t)
	first := provider("10.0.0.1:20880", "org.x.Cart", "")
	e.put(first, "")
	e.put(provider("10.0.0.2:20880", "org.x.Cart", ""), "")
	p := start(t, fmt.Sprintf(slimeBootYAML, true, e.address))
	p.want(nil, "dubbo/org.x.cart.zk dubbo-20880: 10.0.0.1:20880")
	p.status("meshregistry.meshregistry.zookeeper", "synced")
	e.put(provider("10.0.0.3:20880", "org.x.Cart", ""), "")
	p.want(nil, "dubbo/org.x.cart.zk dubbo-20880: 10.0.0.1:20880 10.0.0.3:20880")
	e.remove(first)
	e.remove(provider("10.0.0.3:20880", "org.x.Cart", "")) // there is no protection: the second is left out
	p.want(nil)
	e.put(first, "")
	p.want(nil, "dubbo/org.x.cart.zk dubbo-20880: 10.0.0.1:20880")
	p.write(fmt.Sprintf(slimeBootYAML, false, e.address))
	p.want(nil)
}
