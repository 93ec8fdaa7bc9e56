package snapshot

import (
	"slices"

	"github.com/weftmesh/weft/control/model"
)

// attachKinds are the kinds that the outcome of Options.Attach depends on.
var attachKinds = []model.Kind{
	model.KindGatewayClass, model.KindAPIGateway, model.KindListenerSet, model.KindHTTPRoute, model.KindGRPCRoute,
	model.KindTLSRoute, model.KindTCPRoute, model.KindUDPRoute, model.KindReferenceGrant, model.KindBackendTLSPolicy, model.KindIngress, model.KindIngressClass,
	model.KindService, model.KindServiceEntry, model.KindNamespace, model.KindSecret, model.KindConfigMap, model.KindDestinationRule,
	model.KindWorkload, model.KindProcess, model.KindMeshConfig,
}

// fillAPI collects the objects of Gateway API and Ingress.
func (m *merger) fillAPI(api, last *model.GatewayAPI, all bool) {
	api.Classes = slice(m, all, last.Classes, model.KindGatewayClass)
	api.Gateways = slice(m, all, last.Gateways, model.KindAPIGateway)
	api.ListenerSets = slice(m, all, last.ListenerSets, model.KindListenerSet)
	api.Routes = slice(m, all, last.Routes, model.KindHTTPRoute, model.KindGRPCRoute, model.KindTLSRoute, model.KindTCPRoute, model.KindUDPRoute)
	api.Grants = slice(m, all, last.Grants, model.KindReferenceGrant)
	api.BackendTLS = slice(m, all, last.BackendTLS, model.KindBackendTLSPolicy)
	api.Ingresses = slice(m, all, last.Ingresses, model.KindIngress)
	api.IngressClasses = slice(m, all, last.IngressClasses, model.KindIngressClass)
}

// fillCluster collects what only an analysis reads of a Kubernetes cluster.
func (m *merger) fillCluster(c, last *model.Cluster, all bool) {
	c.Pods = slice(m, all, last.Pods, model.KindPod, model.KindDeployment, model.KindStatefulSet, model.KindDaemonSet)
	c.Nodes = slice(m, all, last.Nodes, model.KindNode)
	c.Webhooks = slice(m, all, last.Webhooks, model.KindMutatingWebhook, model.KindValidatingWebhook)
	c.CRDs = slice(m, all, last.CRDs, model.KindCRD)
	c.Injectors = slice(m, all, last.Injectors, model.KindInjector)
}

// attach adds what the objects of Gateway API and Ingress amount to.
func (m *merger) attach(s, last *model.Snapshot) {
	if last == nil {
		last = &model.Snapshot{}
	}
	s.Policies = m.own.policies
	if m.opts.Attach != nil && (m.attached == nil || m.reselected || m.touched(attachKinds...)) {
		m.attached = m.opts.Attach(s, m.attached)
	}
	made := m.attached
	if made == nil {
		made = &model.APIOutcome{}
	}
	s.Routes = join(last.Routes, m.own.routes, made.Routes)
	s.Gateways = join(last.Gateways, m.own.gateways, made.Gateways)
	s.Policies = join(last.Policies, m.own.policies, made.Policies)
	s.Findings = append(s.Findings, made.Findings...)
	s.Verdicts = made.Verdicts
}

// join puts two sorted lists together; the last outcome when that is the same.
func join[T model.Object](last, own, made []T) []T {
	if len(made) == 0 {
		return own
	}
	out := slices.Concat(own, made)
	model.SortObjects(out)
	if slices.EqualFunc(out, last, func(a, b T) bool { return a.Head() == b.Head() }) {
		return last
	}
	return out
}
