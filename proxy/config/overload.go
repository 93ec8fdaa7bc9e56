package config

import (
	"errors"
	"fmt"
	"math"

	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	heapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	injectedv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/injected_resource/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/overload"
	"github.com/weftmesh/weft/base/strict"
)

// supportedOverload lists the supported fields of the overload manager.
var supportedOverload = strict.Table{
	"envoy.config.overload.v3.OverloadManager":                                                 "refresh_interval resource_monitors actions",
	"envoy.config.overload.v3.ResourceMonitor":                                                 "name typed_config",
	"envoy.config.overload.v3.OverloadAction":                                                  "name triggers",
	"envoy.config.overload.v3.Trigger":                                                         "name threshold scaled",
	"envoy.config.overload.v3.ThresholdTrigger":                                                "value",
	"envoy.config.overload.v3.ScaledTrigger":                                                   "scaling_threshold saturation_threshold",
	"envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig":                         "max_heap_size_bytes",
	"envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig": "max_active_downstream_connections",
	"envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig":           "filename",
}

// overloadManager reads when the proxy sheds load; without one, and with one that
// bounds nothing, as pilot-agent writes it, the default does.
func overloadManager(m *overloadv3.OverloadManager) (overload.Config, error) {
	out := overload.Config{Interval: duration(m.GetRefreshInterval())}
	known := map[string]bool{}
	for i, r := range m.GetResourceMonitors() {
		if none, err := boundless(r.GetTypedConfig()); err != nil {
			return out, at(err, "resource_monitors[%d].typed_config", i)
		} else if none {
			continue
		}
		mon, err := resourceMonitor(r)
		if err == nil && known[r.Name] {
			err = errors.New("there are two of that name")
		}
		if err != nil {
			return out, at(err, "resource_monitors[%d]", i)
		}
		known[r.Name] = true
		out.Monitors = append(out.Monitors, mon)
	}
	taken := map[overload.Action]bool{}
	for i, a := range m.GetActions() {
		rule, err := overloadAction(a, known)
		if err == nil && taken[rule.Action] {
			err = errors.New("there are two of that name")
		}
		if err != nil {
			return out, at(err, "actions[%d]", i)
		}
		taken[rule.Action] = true
		out.Rules = append(out.Rules, rule)
	}
	if len(out.Monitors) == 0 {
		return overload.Default(), nil
	}
	return out, nil
}

// boundless tells whether a monitor is a bound on connections that is none.
func boundless(a *anypb.Any) (bool, error) {
	c := &connectionsv3.DownstreamConnectionsConfig{}
	if !a.MessageIs(c) {
		return false, nil
	}
	if err := a.UnmarshalTo(c); err != nil {
		return false, err
	}
	if c.MaxActiveDownstreamConnections < math.MaxInt32 {
		return false, at(fmt.Errorf("%d is not supported: connections are not bounded; %d says so", c.MaxActiveDownstreamConnections, math.MaxInt32),
			"max_active_downstream_connections")
	}
	return true, nil
}

func resourceMonitor(m *overloadv3.ResourceMonitor) (overload.Monitor, error) {
	if m.GetTypedConfig() == nil {
		return overload.Monitor{}, at(errors.New("is missing"), "typed_config")
	}
	switch msg, err := m.GetTypedConfig().UnmarshalNew(); c := msg.(type) {
	case *heapv3.FixedHeapConfig:
		if c.MaxHeapSizeBytes == 0 {
			return overload.Monitor{}, at(errors.New("must be above 0"), "typed_config.max_heap_size_bytes")
		}
		return overload.Heap(m.Name, c.MaxHeapSizeBytes), nil
	case *injectedv3.InjectedResourceConfig:
		return overload.File(m.Name, c.Filename), nil
	default:
		if err == nil {
			err = fmt.Errorf("%s is not supported", m.GetTypedConfig().TypeUrl)
		}
		return overload.Monitor{}, at(err, "typed_config")
	}
}

func overloadAction(m *overloadv3.OverloadAction, monitors map[string]bool) (overload.Rule, error) {
	a, err := overload.ParseAction(m.Name)
	if err != nil {
		return overload.Rule{}, at(err, "name")
	}
	out := overload.Rule{Action: a}
	for i, t := range m.Triggers {
		if !monitors[t.Name] {
			return out, at(fmt.Errorf("there is no resource monitor %q", t.Name), "triggers[%d].name", i)
		}
		trigger := overload.Trigger{Monitor: t.Name}
		if s := t.GetScaled(); s != nil {
			trigger.Scaling, trigger.Saturation = s.ScalingThreshold, s.SaturationThreshold
			if trigger.Scaling >= trigger.Saturation {
				return out, at(errors.New("must be below saturation_threshold"), "triggers[%d].scaled.scaling_threshold", i)
			}
		} else {
			trigger.Scaling, trigger.Saturation = t.GetThreshold().GetValue(), t.GetThreshold().GetValue()
		}
		out.Triggers = append(out.Triggers, trigger)
	}
	return out, nil
}
