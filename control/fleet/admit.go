package fleet

import (
	"context"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/serve"
	"github.com/weftmesh/weft/wire"
)

// admission is how long a new stream waits for its workload to become known:
// a proxy may be quicker than the news of it.
const admission = 5 * time.Second

// kindUnproven is the kind of identities that only a node id says. It is not that
// of workloads, so that nobody is taken for one by saying its name.
const kindUnproven model.Kind = "Proxy"

// Open implements serve.Backend: the proxy is who its token says.
func (f *Fleet) Open(ctx context.Context, node *corev3.Node, resumes bool) (serve.Session, error) {
	p, err := f.proven(ctx, node)
	if err != nil {
		return nil, err
	}
	return f.enter(ctx, p, resumes)
}

// proven is the session of a proxy that has shown its token.
func (f *Fleet) proven(ctx context.Context, node *corev3.Node) (*session, error) {
	proxy, err := parseNode(node)
	if err != nil {
		return nil, err
	}
	w, err := f.Authenticate(ctx)
	if err != nil {
		return nil, err
	}
	if id := proxy.ID; w.Namespace != id.Namespace || w.Name != id.Name {
		return nil, status.Errorf(codes.PermissionDenied,
			"node id says %s/%s, the token is that of %s/%s: give each proxy its own bootstrap", id.Namespace, id.Name, w.Namespace, w.Name)
	}
	return newSession(f, node.GetId(), proxy, w.Key), nil
}

// Plaintext is the backend of a listener whose bytes anybody may read, and on which
// nobody need prove anything. A proxy with a token is who that says; another is who
// its node says, as Istio's proxies do on port 15010. Either gets all that such a
// proxy may see but Secrets.
func (f *Fleet) Plaintext() serve.Backend { return plaintext{f} }

type plaintext struct{ fleet *Fleet }

// Open implements serve.Backend.
func (b plaintext) Open(ctx context.Context, node *corev3.Node, resumes bool) (serve.Session, error) {
	p, err := b.fleet.provenOrClaimed(ctx, node)
	if err != nil {
		return nil, err
	}
	p.plain = true
	return b.fleet.enter(ctx, p, resumes)
}

func (f *Fleet) provenOrClaimed(ctx context.Context, node *corev3.Node) (*session, error) {
	if md, _ := metadata.FromIncomingContext(ctx); len(md.Get("authorization")) > 0 {
		return f.proven(ctx, node)
	}
	return f.claimed(ctx, node)
}

// claimed is the session of a proxy that is who its node says.
func (f *Fleet) claimed(ctx context.Context, node *corev3.Node) (*session, error) {
	proxy, err := parseNode(node)
	if err != nil {
		return nil, err
	}
	// Istio's proxies say their namespace twice; the metadata counts.
	if ns := proxy.Meta.Namespace; ns != "" {
		proxy.ID.Namespace = ns
	}
	if _, err := f.ready(ctx, func(*index) bool { return true }); err != nil {
		return nil, err
	}
	key := model.Key{Kind: kindUnproven, Namespace: proxy.ID.Namespace, Name: proxy.ID.Name}
	return newSession(f, node.GetId(), proxy, key), nil
}

func parseNode(node *corev3.Node) (p scope.Proxy, err error) {
	if p.ID, err = wire.ParseNodeID(node.GetId()); err != nil {
		return p, status.Error(codes.InvalidArgument, err.Error())
	}
	if p.Meta, err = wire.ParseNodeMetadata(node.GetMetadata()); err != nil {
		return p, status.Error(codes.InvalidArgument, err.Error())
	}
	l := node.GetLocality()
	p.Place = model.Locality{Region: l.GetRegion(), Zone: l.GetZone(), SubZone: l.GetSubZone()}
	p.Raw = map[string]string{}
	for k, v := range node.GetMetadata().GetFields() {
		if text, ok := v.GetKind().(*structpb.Value_StringValue); ok {
			p.Raw[k] = text.StringValue
		}
	}
	return p, nil
}

// enter opens a session when its turn has come.
func (f *Fleet) enter(ctx context.Context, p *session, resumes bool) (serve.Session, error) {
	if err := f.gate.enter(ctx, resumes); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	defer f.gate.leave()
	p.delta = deltaStream(ctx)
	if !f.open(p) {
		return nil, status.Errorf(codes.ResourceExhausted, "%s has %d streams already: close some", p.name(), maxStreams)
	}
	return p, nil
}

// maxStreams is how many streams one workload may have: its proxy, an agent, those
// that reconnect and are not known to be gone; and each channel of gRPC without a proxy.
const maxStreams = 256

// open makes a session of a proxy that is admitted one of the fleet's, unless the
// workload has too many.
func (f *Fleet) open(p *session) bool {
	f.mu.Lock()
	if f.streams[p.identity] >= maxStreams {
		f.mu.Unlock()
		return false
	}
	f.streams[p.identity]++
	f.opened++
	p.number = f.opened
	f.sessions[p], f.entering[p] = struct{}{}, struct{}{}
	f.mu.Unlock()
	agent := p.proxy.Meta.Agent
	if !agent {
		f.metrics.connected.Inc()
	}
	p.register()
	f.build(p, f.index.Load(), nil)
	f.mu.Lock()
	delete(f.entering, p)
	f.mu.Unlock()
	f.log.Info("connected", "proxy", p.id, "agent", agent, "engine", p.proxy.Meta.Engine)
	return true
}

// ready waits a short while for a configuration of which the condition holds, and
// returns the newest; it is not ok when the condition does not hold of it.
func (f *Fleet) ready(ctx context.Context, cond func(*index) bool) (ok bool, err error) {
	wait, cancel := context.WithTimeout(ctx, admission)
	defer cancel()
	for {
		changed := f.index.Changed()
		idx := f.index.Load()
		if idx != nil && cond(idx) {
			return true, nil
		}
		select {
		case <-changed:
			continue
		case <-wait.Done():
		}
		switch {
		case ctx.Err() != nil:
			return false, status.FromContextError(ctx.Err()).Err()
		case idx == nil:
			return false, status.Error(codes.Unavailable, "the control plane has no configuration yet")
		}
		return false, nil
	}
}

// Authenticate tells which workload the caller of a gRPC method is, by the
// bearer token in its metadata. It waits a short while for one that is not known yet.
func (f *Fleet) Authenticate(ctx context.Context) (*model.Workload, error) {
	hash, err := tokenHash(ctx)
	if err != nil {
		return nil, err
	}
	var w *model.Workload
	ok, err := f.ready(ctx, func(idx *index) bool {
		w = idx.byToken[hash]
		return w != nil
	})
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, status.Error(codes.Unauthenticated, "the token belongs to no workload of this mesh: restart the proxy, or the mesh that started it")
	}
	return w, nil
}

var (
	_ serve.Backend = (*Fleet)(nil)
	_ serve.Backend = plaintext{}
)
