package oracle

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/types/known/structpb"
)

// Case is one configuration, and an edit of it that makes a difference.
type Case struct {
	Name string
	// About says in a line what is configured.
	About string
	// Config and Mesh are YAML: Istio's objects, and a MeshConfig ("": the default one).
	Config, Mesh string
	// Old is a text in Config or Mesh, in whose place the edit puts New.
	Old, New string
}

// Edited is the case after its edit.
func (c Case) Edited() Case {
	c.Config = strings.Replace(c.Config, c.Old, c.New, 1)
	c.Mesh = strings.Replace(c.Mesh, c.Old, c.New, 1)
	return c
}

const (
	// base is the file that all cases begin with.
	base = "base.yaml"
	// providers is what Istio's installation writes into the MeshConfig.
	providers = "defaultProviders: {metrics: [prometheus]}\n"
)

// Corpus reads all cases below a folder, in the order of their names.
func Corpus(dir string) ([]Case, error) {
	common, err := os.ReadFile(filepath.Join(dir, base))
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(dir, "corpus", "*.txtar"))
	if err != nil {
		return nil, err
	}
	var out []Case
	for _, f := range files {
		a, err := txtar.ParseFile(f)
		if err != nil {
			return nil, err
		}
		c, err := parseCase(a)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		c.Name = strings.TrimSuffix(filepath.Base(f), ".txtar")
		c.Config = string(common) + "\n---\n" + c.Config
		if !strings.Contains(c.Mesh, "defaultProviders:") {
			c.Mesh = providers + c.Mesh
		}
		out = append(out, c)
	}
	return out, nil
}

func parseCase(a *txtar.Archive) (Case, error) {
	c := Case{About: strings.TrimSpace(string(a.Comment))}
	for _, f := range a.Files {
		text := string(f.Data)
		switch f.Name {
		case "config.yaml":
			c.Config = text
		case "mesh.yaml":
			c.Mesh = text
		case "edit":
			var ok bool
			if c.Old, c.New, ok = strings.Cut(strings.TrimSpace(text), " => "); !ok {
				return c, errors.New(`edit: want "OLD => NEW"`)
			}
		default:
			return c, fmt.Errorf("%s: want config.yaml, mesh.yaml or edit", f.Name)
		}
	}
	switch {
	case c.About == "" || strings.Contains(c.About, "\n"):
		return c, errors.New("want one line before the files that says what is configured")
	case c.Old == "" || strings.Count(c.Config+c.Mesh, c.Old) != 1:
		return c, fmt.Errorf("edit: %q stands %d times in the files, want once", c.Old, strings.Count(c.Config+c.Mesh, c.Old))
	}
	return c, nil
}

// Write writes the case for a control plane: objects below dir/config, and the MeshConfig
// in dir/mesh.yaml, behind what is in defaults.
func (c Case) Write(dir, defaults string) error {
	config := filepath.Join(dir, "config")
	return errors.Join(os.MkdirAll(config, 0o755),
		os.WriteFile(filepath.Join(config, "config.yaml"), []byte(c.Config), 0o644),
		os.WriteFile(filepath.Join(dir, "mesh.yaml"), []byte(defaults+c.Mesh), 0o644))
}

// Node is who asks.
type Node struct {
	// Name is how the differences call it.
	Name string
	// ID and Cluster are Istio's, Metadata what pilot-agent says beside it.
	ID, Cluster string
	Metadata    map[string]any
	Locality    *corev3.Locality
}

// Nodes are those of base.yaml: a client, a server, and a gateway.
var Nodes = []Node{
	sidecar("client", "10.244.0.20", map[string]any{"app": "client"}),
	sidecar("server", "10.244.0.11", map[string]any{"app": "web", "version": "v1"}),
	{
		Name: "gateway", Cluster: "gateway.istio-system", ID: "router~10.244.0.30~gateway.istio-system~istio-system.svc.cluster.local",
		Metadata: metadata("gateway", "istio-system", "10.244.0.30", map[string]any{"istio": "ingressgateway", "app": "istio-ingressgateway"}),
		Locality: &corev3.Locality{Region: "r1", Zone: "z1"},
	},
}

func sidecar(name, ip string, labels map[string]any) Node {
	return Node{
		Name: name, Cluster: name + ".shop", ID: "sidecar~" + ip + "~" + name + ".shop~shop.svc.cluster.local",
		Metadata: metadata(name, "shop", ip, labels), Locality: &corev3.Locality{Region: "r1", Zone: "z1"},
	}
}

func metadata(name, namespace, ip string, labels map[string]any) map[string]any {
	return map[string]any{
		"NAME": name, "NAMESPACE": namespace, "INSTANCE_IPS": ip, "LABELS": labels, "WORKLOAD_NAME": name, "SERVICE_ACCOUNT": name,
		"CLUSTER_ID": "Kubernetes", "MESH_ID": "cluster.local", "ISTIO_VERSION": "1.31.0", "INTERCEPTION_MODE": "REDIRECT",
		"PROXY_CONFIG": map[string]any{},
	}
}

// Proto is the node as a proxy sends it.
func (n Node) Proto() (*corev3.Node, error) {
	m, err := structpb.NewStruct(n.Metadata)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", n.Name, err)
	}
	return &corev3.Node{Id: n.ID, Cluster: n.Cluster, Metadata: m, Locality: n.Locality}, nil
}
