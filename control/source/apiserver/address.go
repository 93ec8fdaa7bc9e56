package apiserver

import (
	"fmt"
	"net/url"
	"os"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Scheme begins the addresses of API servers.
const Scheme = "kubernetes://"

// Is tells whether a text is the address of an API server.
func Is(address string) bool { return strings.HasPrefix(address, Scheme) }

// How much is asked at once when the client configuration does not say: some forty kinds are
// listed at the start.
const (
	queries = 100
	burst   = 200
)

// Config reads an address: "kubernetes://" is the server that this process runs in, else that
// of KUBECONFIG or ~/.kube/config; "kubernetes://?kubeconfig=FILE&context=NAME" names either.
func Config(address string) (*rest.Config, error) {
	u, err := url.Parse(address)
	if err != nil || !Is(address) || u.Host != "" || u.Path != "" && u.Path != "/" {
		return nil, fmt.Errorf("%q: want %s, or %s?kubeconfig=FILE&context=NAME", address, Scheme, Scheme)
	}
	rules, over := clientcmd.NewDefaultClientConfigLoadingRules(), &clientcmd.ConfigOverrides{}
	for name, values := range u.Query() {
		if len(values) != 1 || values[0] == "" {
			return nil, fmt.Errorf("%q: parameter %q: want it once and with a value", address, name)
		}
		switch name {
		case "kubeconfig":
			if _, err := os.Stat(values[0]); err != nil {
				return nil, fmt.Errorf("%q: kubeconfig: %w", address, err)
			}
			rules.ExplicitPath = values[0]
		case "context":
			over.CurrentContext = values[0]
		default:
			return nil, fmt.Errorf("%q: parameter %q: want kubeconfig or context", address, name)
		}
	}
	var config *rest.Config
	if inside() && len(u.Query()) == 0 {
		config, err = rest.InClusterConfig()
	} else {
		config, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, over).ClientConfig()
	}
	if err != nil {
		return nil, fmt.Errorf("%q: %w", address, err)
	}
	if config.QPS == 0 {
		config.QPS, config.Burst = queries, burst
	}
	return config, nil
}

// inside tells whether this process runs in a pod.
func inside() bool { return os.Getenv("KUBERNETES_SERVICE_HOST") != "" }
