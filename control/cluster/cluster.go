// Package cluster is what a control plane does in the Kubernetes cluster that it runs in,
// beside reading it: it keeps the root of the mesh in a Secret, so that all replicas and
// those that come later have the same; it trusts the tokens of the cluster's service accounts;
// and it writes what others need: the root certificate into every namespace, and into the
// webhooks' configurations.
//
// Who writes is elected by a Lease; reading and serving need no election. A server that is
// away stops nothing but the writing, which goes on when it is back. What is written is
// applied by the server as fields of a manager of their own, and put right when somebody
// changes it.
//
// It does not renew the root.
package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/dynamic"
	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"
	core "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"

	"github.com/weftmesh/weft/control/identity"
	"github.com/weftmesh/weft/control/source/apiserver"
)

// Names of what the control plane makes.
const (
	// RootSecret has the root and its key, and stays when the control plane goes.
	RootSecret = "weft-ca"
	// RootConfigMap has the root certificate, in every namespace; RootLabel is on it.
	RootConfigMap = "weft-ca-root-cert"
	RootLabel     = "weft.dev/root-certificate"
	// Lease is who writes.
	Lease = "weft-control"
	// The webhooks' configurations.
	InjectWebhook, ValidateWebhook = "weft-inject", "weft-validate"
)

// Keys of the Secret and the ConfigMap.
const (
	certKey = "ca-cert.pem"
	keyKey  = "ca-key.pem"
	rootKey = "root-cert.pem"
)

// manager is who the fields that are written belong to.
const manager = "weft-control"

// How a lease is held: for how long, how long its holder tries to renew it, and how often.
const (
	leaseTime  = 15 * time.Second
	leaseRenew = 10 * time.Second
	leaseRetry = 2 * time.Second
)

// Writer writes until ctx ends. Only one replica's runs at a time.
type Writer func(ctx context.Context) error

// Cluster is the cluster that a control plane runs in. Make one with New.
type Cluster struct {
	namespace string
	log       *slog.Logger
	config    *rest.Config
	http      *http.Client
	core      core.CoreV1Interface
	leases    coordination.CoordinationV1Interface
	dynamic   dynamic.Interface
	root      []byte
	writers   []Writer
}

// New returns the cluster at an address as the control plane's flag --config has it, in whose
// namespace the control plane runs. Nothing is asked yet.
func New(address, namespace string, log *slog.Logger) (*Cluster, error) {
	config, err := apiserver.Config(address)
	if err != nil {
		return nil, err
	}
	c := &Cluster{namespace: namespace, log: log.With("component", "cluster"), config: config}
	if c.http, err = rest.HTTPClientFor(config); err != nil {
		return nil, fmt.Errorf("%q: %w", address, err)
	}
	if c.core, err = core.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("%q: %w", address, err)
	}
	if c.leases, err = coordination.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("%q: %w", address, err)
	}
	if c.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("%q: %w", address, err)
	}
	return c, nil
}

// Issuer is that of the tokens of the cluster's service accounts.
func (c *Cluster) Issuer(audience string) *identity.Issuer {
	return identity.Discover(c.config.Host, audience, c.http)
}

// Config is how the cluster is reached, for what else a control plane does there.
func (c *Cluster) Config() *rest.Config { return c.config }

// Write adds a writer. It is to be called before Run.
func (c *Cluster) Write(w Writer) { c.writers = append(c.writers, w) }

// Run is one of those who may write, until ctx ends. Root has to have been called.
func (c *Cluster) Run(ctx context.Context) error {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("the name of this replica: %w", err)
	}
	// A name that no other process has, on this machine either.
	self := host + "_" + string(uuid.NewUUID())
	writers := append([]Writer{c.publish}, c.writers...)
	lock := &resourcelock.LeaseLock{
		LeaseMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: Lease}, Client: c.leases,
		LockConfig: resourcelock.ResourceLockConfig{Identity: self},
	}
	quiet := klog.NewContext(ctx, logr.FromSlogHandler(c.log.Handler()).V(4)) // it says much, and again
	for ctx.Err() == nil {
		e, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: lock, LeaseDuration: leaseTime, RenewDeadline: leaseRenew, RetryPeriod: leaseRetry, ReleaseOnCancel: true, Name: Lease,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(ctx context.Context) { c.lead(ctx, writers) },
				OnStoppedLeading: func() {},
			},
		})
		if err != nil {
			return fmt.Errorf("BUG: election: %w", err)
		}
		e.Run(quiet)
	}
	return ctx.Err()
}

// lead writes until ctx ends: another leads then, or nobody.
func (c *Cluster) lead(ctx context.Context, writers []Writer) {
	c.log.Info("this replica writes to the cluster")
	g, ctx := errgroup.WithContext(ctx)
	for _, w := range writers {
		g.Go(func() error { return w(ctx) })
	}
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		c.log.Error("writing has ended", "error", err)
	}
	c.log.Info("this replica no longer writes to the cluster")
}
