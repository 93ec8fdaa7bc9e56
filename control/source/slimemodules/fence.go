package slimemodules

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	api "github.com/weftmesh/weft/api/slime/v1alpha1"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/wire"
)

func convertFence(d *document.Document) []model.Object {
	spec, err := document.Into[api.ServiceFenceSpec](d.Spec())
	if err != nil {
		d.Invalid("spec", "", "cannot be read: %v", err)
		return nil
	}
	out := &model.Fence{Meta: d.Meta, Enabled: spec.Enable}
	switch mode := d.Annotations[wire.FenceKey]; mode {
	case "", wire.FenceOpen:
	case wire.FenceClosed:
		out.Closed = true
	default:
		d.Invalid(document.Join("metadata.annotations", wire.FenceKey), "write "+wire.FenceOpen+" or "+wire.FenceClosed, "%q is no mode of a fence", mode)
	}
	sel := either(d, twice{"spec", "workloadSelector", "workload_selector"}, spec.WorkloadSelector, spec.WorkloadSelectorSnake)
	if sel != nil {
		out.FromService = sel.FromService || sel.FromServiceSnake
		if len(sel.Labels) > 0 {
			out.Selector, out.FromService = sel.Labels, false // as Slime ranks them
			d.CheckLabels("spec.workloadSelector.labels", sel.Labels)
		}
	}
	for _, host := range slices.Sorted(maps.Keys(spec.Host)) {
		fenceHost(d, out, host, spec.Host[host])
	}
	for i, n := range either(d, twice{"spec", "namespaceSelector", "namespace_selector"}, spec.NamespaceSelector, spec.NamespaceSelectorSnake) {
		if !document.IsLabel(n) {
			d.Invalid(document.At("spec.namespaceSelector", i), "write the name of a namespace", "%q is not a namespace", n)
		}
		out.Namespaces = append(out.Namespaces, n)
	}
	for i, s := range either(d, twice{"spec", "labelSelector", "label_selector"}, spec.LabelSelector, spec.LabelSelectorSnake) {
		at := document.At("spec.labelSelector", i) + ".selector"
		if len(s.Selector) == 0 {
			d.Error(document.CodeMissing, at, "write labels of services", "is missing: it would pick nothing")
			continue
		}
		d.CheckLabels(at, s.Selector)
		out.Labels = append(out.Labels, s.Selector)
	}
	if !spec.Enable {
		d.Info(CodeNotNeeded, "spec.enable", "write enable: true to put the fence up", "is false: the fence has no effect")
	}
	return []model.Object{out}
}

// fenceHost reads one entry of spec.host.
func fenceHost(d *document.Document, out *model.Fence, host string, r api.Recycling) {
	at := document.Join("spec.host", host)
	if ns, rest, ok := strings.Cut(host, "/"); ok {
		if rest != "*" || !document.IsLabel(ns) {
			d.Invalid(at, `write a host, or "namespace/*"`, "%q is neither a host nor a namespace", host)
			return
		}
	} else {
		d.Host(at, host, true)
	}
	h := model.FenceHost{Host: host}
	if r.Deadline != nil {
		until, ok := moment(r.Deadline.Expire)
		if !ok {
			d.Invalid(at+".deadline.expire", "write {seconds: …} since 1970, or 2006-01-02T15:04:05Z", "is no time")
		}
		h.Until = until
	}
	out.Hosts = append(out.Hosts, h)
}

// moment reads {seconds, nanos} or RFC 3339, in Unix seconds, rounded up.
func moment(v any) (int64, bool) {
	switch v := v.(type) {
	case string:
		t, err := time.Parse(time.RFC3339, v)
		return t.Unix(), err == nil
	case map[string]any:
		raw, err := json.Marshal(v)
		if err != nil {
			return 0, false
		}
		var t struct {
			Seconds json.Number `json:"seconds"`
			Nanos   int64       `json:"nanos"`
		}
		if json.Unmarshal(raw, &t) != nil {
			return 0, false
		}
		n, err := t.Seconds.Int64()
		if t.Nanos > 0 {
			n++
		}
		return n, err == nil && n > 0
	}
	return 0, false
}
