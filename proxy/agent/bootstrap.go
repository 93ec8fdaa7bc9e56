package agent

import (
	"fmt"
	"os"

	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/wire"
)

// ReadBootstrap takes node, metadata and the port of the admin API from the
// engine's bootstrap.
func (o *Options) ReadBootstrap() error {
	raw, err := os.ReadFile(o.Envoy.Bootstrap)
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	var doc struct {
		Node struct {
			ID       string            `json:"id"`
			Metadata wire.NodeMetadata `json:"metadata"`
		} `json:"node"`
		Admin struct {
			Address struct {
				SocketAddress struct {
					PortValue uint16 `json:"port_value"`
				} `json:"socket_address"`
			} `json:"address"`
		} `json:"admin"`
	}
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return fmt.Errorf("bootstrap %s: %w", o.Envoy.Bootstrap, err)
	}
	if o.Node, err = wire.ParseNodeID(doc.Node.ID); err != nil {
		return fmt.Errorf("bootstrap %s: node.id: %w", o.Envoy.Bootstrap, err)
	}
	o.Metadata = doc.Node.Metadata
	if p := doc.Admin.Address.SocketAddress.PortValue; p != 0 {
		o.Ports.Admin = p
	}
	return nil
}
