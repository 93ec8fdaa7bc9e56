package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/wire"
)

// grpcBootstrapCommand is what the init container of grpc-simple runs: it writes what gRPC
// reads that speaks xDS itself, and no agent is needed for. Who the pod is comes from
// INSTANCE_IP, POD_NAME and POD_NAMESPACE.
func grpcBootstrapCommand() *cobra.Command {
	var server, out string
	c := &cobra.Command{
		Use: "grpc-bootstrap", Hidden: true, Short: "Write a bootstrap for gRPC that speaks xDS itself", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if server == "" || out == "" {
				return usage(errors.New("grpc-bootstrap needs --server and --out"))
			}
			text, err := grpcBootstrap(server, os.Getenv)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
				return err
			}
			return os.WriteFile(out, text, 0o644) //nolint:gosec // the programs of the pod are other users
		},
	}
	c.Flags().StringVar(&server, "server", "", "the control plane, as gRPC names it: dns:///host:port")
	c.Flags().StringVar(&out, "out", "", "file to write")
	return c
}

func grpcBootstrap(server string, env func(string) string) ([]byte, error) {
	id := wire.NodeID{Type: wire.Sidecar, IP: env("INSTANCE_IP"), Name: env("POD_NAME"), Namespace: env("POD_NAMESPACE")}
	if id.IP == "" || id.Name == "" || id.Namespace == "" {
		return nil, errors.New("grpc-bootstrap: INSTANCE_IP, POD_NAME and POD_NAMESPACE say who the pod is: one of them is empty")
	}
	id.Domain = id.Namespace + ".svc.cluster.local"
	return json.MarshalIndent(map[string]any{
		"xds_servers": []any{map[string]any{
			"server_uri": server, "channel_creds": []any{map[string]any{"type": "insecure"}}, "server_features": []string{"xds_v3"},
		}},
		"node": map[string]any{"id": id.String(), "metadata": map[string]any{
			"GENERATOR": wire.GeneratorGRPC, "NAMESPACE": id.Namespace, "NAME": id.Name, "INSTANCE_IPS": id.IP,
		}},
	}, "", "  ")
}
