package kube

import (
	"encoding/json"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/control/source/istio"
)

// ClusterFrontEnds returns the front ends of what runs in a Kubernetes cluster and
// how it is injected. Only an analysis has use for them: Weft itself runs no pods,
// and passes these kinds over. They check no more of a document than they read.
func ClusterFrontEnds() []document.FrontEnd {
	anything := &document.Shape{}
	spec := document.Resource(document.Field{Name: "spec", Shape: anything}, document.Field{Name: "status", Shape: anything, Rule: document.Rule{Quiet: true}})
	hooks := document.Resource(document.Field{Name: "webhooks", Shape: anything})
	template := func(kind string) document.FrontEnd {
		return document.FrontEnd{Kind: kind, Group: "apps", Versions: []string{"v1"}, Shape: spec, Convert: convertTemplate}
	}
	webhook := func(kind string) document.FrontEnd {
		return document.FrontEnd{Kind: kind, Group: "admissionregistration.k8s.io", Versions: []string{"v1"}, Cluster: true, Shape: hooks, Convert: convertWebhook}
	}
	return []document.FrontEnd{
		{Kind: "Pod", Versions: []string{"v1"}, Shape: spec, Convert: convertPod},
		{Kind: "Node", Versions: []string{"v1"}, Cluster: true, Shape: spec, Convert: convertNode},
		template("Deployment"), template("StatefulSet"), template("DaemonSet"),
		webhook("MutatingWebhookConfiguration"), webhook("ValidatingWebhookConfiguration"),
		{Kind: "CustomResourceDefinition", Group: "apiextensions.k8s.io", Versions: []string{"v1"}, Cluster: true, Shape: spec, Convert: convertCRD},
	}
}

// into decodes a part of a document; what does not fit is an error at the field.
func into[T any](d *document.Document, field string, v any) (out T, ok bool) {
	out, err := document.Into[T](v)
	if err != nil {
		d.Error(document.CodeType, field, "compare with Kubernetes' reference", "cannot be read: %v", err)
	}
	return out, err == nil
}

func convertPod(d *document.Document) []model.Object {
	spec, ok := into[corev1.PodSpec](d, "spec", d.Spec())
	if !ok {
		return nil
	}
	annotations(d, "metadata.annotations", "Pod", d.Annotations)
	istio.Annotated(d)
	p := pod(d.Meta, &spec)
	p.PodLabels, p.PodAnnotations = d.Labels, d.Annotations
	return []model.Object{p}
}

func convertTemplate(d *document.Document) []model.Object {
	spec, ok := into[struct{ Template corev1.PodTemplateSpec }](d, "spec", d.Spec())
	if !ok {
		return nil
	}
	annotations(d, "metadata.annotations", d.Kind, d.Annotations)
	annotations(d, "spec.template.metadata.annotations", "Pod", spec.Template.Annotations)
	istio.OwnProxy(d, document.Join("spec.template.metadata.annotations", istio.ProxyAnnotation), spec.Template.Annotations[istio.ProxyAnnotation])
	p := pod(d.Meta, &spec.Template.Spec)
	p.PodLabels, p.PodAnnotations = spec.Template.Labels, spec.Template.Annotations
	return []model.Object{p}
}

func pod(m model.Meta, spec *corev1.PodSpec) *model.Pod {
	out := &model.Pod{Meta: m, HostNetwork: spec.HostNetwork, Node: spec.NodeName}
	if s := spec.SecurityContext; s != nil {
		out.RunAsUser = s.RunAsUser
	}
	for i := range spec.Containers {
		out.Containers = append(out.Containers, container(&spec.Containers[i], false))
	}
	for i := range spec.InitContainers {
		out.Containers = append(out.Containers, container(&spec.InitContainers[i], true))
	}
	return out
}

func container(c *corev1.Container, init bool) model.Container {
	out := model.Container{Name: c.Name, Image: c.Image, Init: init, Env: map[string]string{}}
	if s := c.SecurityContext; s != nil {
		out.RunAsUser = s.RunAsUser
	}
	for _, e := range c.Env {
		out.Env[e.Name] = e.Value
	}
	for _, p := range c.Ports {
		out.Ports = append(out.Ports, model.ProcessPort{Name: p.Name, Port: uint16(p.ContainerPort)})
	}
	return out
}

func convertNode(d *document.Document) []model.Object {
	return []model.Object{&model.Node{Meta: d.Meta}}
}

func convertWebhook(d *document.Document) []model.Object {
	list, ok := into[[]struct {
		Name                              string
		ClientConfig                      admissionv1.WebhookClientConfig
		NamespaceSelector, ObjectSelector *metav1.LabelSelector
	}](d, "webhooks", d.Body["webhooks"])
	if !ok {
		return nil
	}
	out := &model.Webhook{Meta: d.Meta}
	for _, h := range list {
		hook := model.Hook{Name: h.Name, Namespaces: selector(h.NamespaceSelector), Objects: selector(h.ObjectSelector)}
		if h.ClientConfig.URL != nil {
			hook.URL = *h.ClientConfig.URL
		}
		if s := h.ClientConfig.Service; s != nil {
			hook.Service = model.Key{Kind: model.KindService, Namespace: s.Namespace, Name: s.Name}
		}
		out.Hooks = append(out.Hooks, hook)
	}
	return []model.Object{out}
}

func selector(s *metav1.LabelSelector) *model.LabelSelector {
	if s == nil {
		return nil
	}
	out := &model.LabelSelector{Labels: s.MatchLabels}
	for _, e := range s.MatchExpressions {
		out.Expressions = append(out.Expressions, model.LabelExpression{Key: e.Key, Op: string(e.Operator), Values: e.Values})
	}
	return out
}

// bundle is the annotation with the version of Gateway API.
const bundle = "gateway.networking.k8s.io/bundle-version"

func convertCRD(d *document.Document) []model.Object {
	spec, ok := into[struct {
		Group string
		Names struct{ Kind string }
	}](d, "spec", d.Spec())
	if !ok {
		return nil
	}
	return []model.Object{&model.CRD{Meta: d.Meta, Group: spec.Group, Kind: spec.Names.Kind, Bundle: d.Annotations[bundle]}}
}

// injectorName is what the ConfigMaps of Istio's sidecar injectors begin with.
const injectorName = "istio-sidecar-injector"

// injector reads the values of a sidecar injector; nil when they cannot be read.
func injector(d *document.Document, data map[string]any) []model.Object {
	text, _ := data["values"].(string)
	var values struct {
		Global struct {
			Hub   string
			Tag   any
			Proxy struct{ Image string }
		}
		SidecarInjectorWebhook struct{ EnableNamespacesByDefault bool }
	}
	if json.Unmarshal([]byte(text), &values) != nil {
		return nil
	}
	d.Key.Kind = model.KindInjector
	out := &model.Injector{Meta: d.Meta, Image: values.Global.Proxy.Image, ByDefault: values.SidecarInjectorWebhook.EnableNamespacesByDefault}
	if tag, ok := values.Global.Tag.(string); ok && !strings.Contains(out.Image, "/") {
		out.Image = values.Global.Hub + "/" + out.Image + ":" + tag
	}
	return []model.Object{out}
}
