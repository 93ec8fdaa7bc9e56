package fleet

import (
	"context"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	lrspb "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/base/bearertoken"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/serve"
)

// Account is an identity that a caller has proved by a certificate or by a token of an
// issuer: a service account.
type Account struct{ TrustDomain, Namespace, Name string }

// Prover tells whom the caller of a gRPC method has proved to be, or a gRPC status error.
type Prover func(ctx context.Context) (Account, error)

// Secure is the backend of a listener with TLS. A proxy with the token of a workload is that
// workload. Another is the one that its node says, as Istio's proxies do on port 15012,
// if it has proved to be of that namespace, and of the service account of that workload: what
// runs under one account is not told apart.
func (f *Fleet) Secure(prove Prover) serve.Backend { return secure{f, prove} }

// SecureLoads is Loads for the listener of Secure.
func (f *Fleet) SecureLoads(prove Prover) lrspb.LoadReportingServiceServer {
	return loads{fleet: f, find: secure{f, prove}.find}
}

type secure struct {
	fleet *Fleet
	prove Prover
}

// Open implements serve.Backend.
func (b secure) Open(ctx context.Context, node *corev3.Node, resumes bool) (serve.Session, error) {
	p, err := b.find(ctx, node)
	if err != nil {
		return nil, err
	}
	return b.fleet.enter(ctx, p, resumes)
}

func (b secure) find(ctx context.Context, node *corev3.Node) (*session, error) {
	if OwnToken(ctx) {
		return b.fleet.proven(ctx, node)
	}
	account, err := b.prove(ctx)
	if err != nil {
		return nil, err
	}
	p, err := b.fleet.claimed(ctx, node)
	if err != nil {
		return nil, err
	}
	if ns := p.proxy.ID.Namespace; ns != account.Namespace {
		return nil, status.Errorf(codes.PermissionDenied, "node id says namespace %s, the proof is that of %s/%s: a proxy is of its account's namespace", ns, account.Namespace, account.Name)
	}
	p.account = account.Name
	p.proxy.Meta.ServiceAccount = account.Name
	if w := b.fleet.await(ctx, p); w != nil {
		p.identity = w.Key
	}
	return p, b.fleet.mayBe(p, account)
}

// news is how long a proxy waits for its workload to become known, which it may never be.
const news = time.Second

// await is the workload that a session's proxy says it is of; nil: it is not known.
func (f *Fleet) await(ctx context.Context, p *session) (w *model.Workload) {
	if p.proxy.Raw[groupKey] != "" {
		return nil // it becomes one
	}
	ctx, cancel := context.WithTimeout(ctx, news)
	defer cancel()
	_, _ = f.ready(ctx, func(idx *index) bool {
		w = idx.Workload(p.proxy.ID.Namespace, p.proxy.ID.Name)
		return w != nil
	})
	return w
}

// mayBe tells whether an account is that of the workload that the proxy says it is of, or of
// the group that it wants to be in.
func (f *Fleet) mayBe(p *session, account Account) error {
	idx := f.index.Load()
	if w := idx.Workload(p.proxy.ID.Namespace, p.proxy.ID.Name); w != nil && p.permitted(w) == nil {
		return status.Errorf(codes.PermissionDenied, "workload %s/%s is of service account %s, the proof is that of %s", w.Namespace, w.Name, w.ServiceAccount, account.Name)
	}
	name := p.proxy.Raw[groupKey]
	if name == "" {
		return nil
	}
	for _, g := range idx.Snapshot.Groups {
		if g.Key.Namespace == account.Namespace && g.Key.Name == name && g.Template.ServiceAccount != account.Name {
			return status.Errorf(codes.PermissionDenied, "WorkloadGroup %s/%s is of service account %s, the proof is that of %s", g.Key.Namespace, name, g.Template.ServiceAccount, account.Name)
		}
	}
	return nil
}

// permitted is a workload that may be that of the session's proxy, or nil.
func (p *session) permitted(w *model.Workload) *model.Workload {
	if w != nil && p.account != "" && w.ServiceAccount != "" && w.ServiceAccount != p.account {
		return nil
	}
	return w
}

// OwnToken tells whether a call shows a token that the mesh itself has given a workload: one
// that is no JSON web token, which has two dots.
func OwnToken(ctx context.Context) bool {
	for token := range bearertoken.All(ctx) {
		return strings.Count(token, ".") != 2
	}
	return false
}
