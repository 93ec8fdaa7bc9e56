package config

import (
	"errors"
	"fmt"

	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	cgroupv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/cgroup_memory/v3"
	cpuv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/cpu_utilization/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	heapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	injectedv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/injected_resource/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/overload"
	"github.com/weftmesh/weft/base/strict"
)

// supportedOverload lists the supported fields of the overload manager.
var supportedOverload = strict.Table{
	"envoy.config.overload.v3.OverloadManager":                                                 "refresh_interval resource_monitors actions loadshed_points",
	"envoy.config.overload.v3.ResourceMonitor":                                                 "name typed_config",
	"envoy.config.overload.v3.OverloadAction":                                                  "name triggers typed_config",
	"envoy.config.overload.v3.ScaleTimersOverloadActionConfig":                                 "timer_scale_factors",
	"envoy.config.overload.v3.ScaleTimersOverloadActionConfig.ScaleTimer":                      "timer min_timeout min_scale",
	"envoy.config.overload.v3.LoadShedPoint":                                                   "name triggers",
	"envoy.config.overload.v3.Trigger":                                                         "name threshold scaled",
	"envoy.config.overload.v3.ThresholdTrigger":                                                "value",
	"envoy.config.overload.v3.ScaledTrigger":                                                   "scaling_threshold saturation_threshold",
	"envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig":                         "max_heap_size_bytes",
	"envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig": "max_active_downstream_connections",
	"envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig":           "filename",
	"envoy.extensions.resource_monitors.cgroup_memory.v3.CgroupMemoryConfig":                   "max_memory_bytes",
	"envoy.extensions.resource_monitors.cpu_utilization.v3.CpuUtilizationConfig":               "mode",
}

// overloadManager reads when the proxy sheds load; without one, and with one that
// bounds connections only, as pilot-agent writes it, the default does.
func overloadManager(m *overloadv3.OverloadManager) (overload.Config, error) {
	out := overload.Config{Interval: duration(m.GetRefreshInterval())}
	known := map[string]bool{}
	for i, r := range m.GetResourceMonitors() {
		if n, is, err := maxConnections(r.GetTypedConfig()); err != nil {
			return out, at(err, "resource_monitors[%d].typed_config", i)
		} else if is {
			out.MaxConnections = n
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
	rule := func(name string, parse func(string) (overload.Action, error), triggers []*overloadv3.Trigger, more *anypb.Any) error {
		r, err := overloadRule(name, parse, triggers, known)
		if err == nil {
			r.Timers, err = scaledTimers(r.Action, more)
		}
		if err == nil && taken[r.Action] {
			err = errors.New("there are two of that name")
		}
		taken[r.Action] = true
		out.Rules = append(out.Rules, r)
		return err
	}
	for i, a := range m.GetActions() {
		if err := rule(a.Name, overload.ParseAction, a.Triggers, a.TypedConfig); err != nil {
			return out, at(err, "actions[%d]", i)
		}
	}
	for i, p := range m.GetLoadshedPoints() {
		if err := rule(p.Name, overload.ParsePoint, p.Triggers, nil); err != nil {
			return out, at(err, "loadshed_points[%d]", i)
		}
	}
	if len(out.Monitors) == 0 {
		bound := out.MaxConnections
		out = overload.Default()
		out.MaxConnections = bound
	}
	return out, nil
}

// maxConnections reads the monitor that bounds connections; false: it is another.
func maxConnections(a *anypb.Any) (int64, bool, error) {
	c := &connectionsv3.DownstreamConnectionsConfig{}
	if !a.MessageIs(c) {
		return 0, false, nil
	}
	err := a.UnmarshalTo(c)
	if err == nil && c.MaxActiveDownstreamConnections <= 0 {
		err = at(errors.New("must be above 0"), "max_active_downstream_connections")
	}
	return c.MaxActiveDownstreamConnections, true, err
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
	case *cgroupv3.CgroupMemoryConfig:
		mon, err := overload.GroupMemory(m.Name, c.MaxMemoryBytes, "/")
		return mon, at(err, "typed_config")
	case *cpuv3.CpuUtilizationConfig:
		mon, err := overload.CPUTime(m.Name, c.Mode == cpuv3.CpuUtilizationConfig_CONTAINER, "/")
		return mon, at(err, "typed_config")
	case *injectedv3.InjectedResourceConfig:
		return overload.File(m.Name, c.Filename), nil
	default:
		if err == nil {
			err = fmt.Errorf("%s is not supported", m.GetTypedConfig().TypeUrl)
		}
		return overload.Monitor{}, at(err, "typed_config")
	}
}

func overloadRule(name string, parse func(string) (overload.Action, error), triggers []*overloadv3.Trigger, monitors map[string]bool) (overload.Rule, error) {
	a, err := parse(name)
	if err != nil {
		return overload.Rule{}, at(err, "name")
	}
	out := overload.Rule{Action: a}
	for i, t := range triggers {
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

type scaleTimers = overloadv3.ScaleTimersOverloadActionConfig

var timerTypes = map[overloadv3.ScaleTimersOverloadActionConfig_TimerType]overload.Timer{
	overloadv3.ScaleTimersOverloadActionConfig_HTTP_DOWNSTREAM_CONNECTION_IDLE: overload.ConnectionIdle,
	overloadv3.ScaleTimersOverloadActionConfig_HTTP_DOWNSTREAM_STREAM_IDLE:     overload.StreamIdle,
	overloadv3.ScaleTimersOverloadActionConfig_TRANSPORT_SOCKET_CONNECT:        overload.Handshake,
	overloadv3.ScaleTimersOverloadActionConfig_HTTP_DOWNSTREAM_CONNECTION_MAX:  overload.ConnectionLife,
}

// scaledTimers reads what only one action has: which timers it reduces, and how far.
func scaledTimers(a overload.Action, m *anypb.Any) (map[overload.Timer]overload.Minimum, error) {
	switch {
	case a == overload.ReduceTimeouts && m == nil:
		return nil, at(errors.New("is missing"), "typed_config")
	case m == nil:
		return nil, nil
	case a != overload.ReduceTimeouts:
		return nil, at(fmt.Errorf("%s has none", a), "typed_config")
	}
	c := &scaleTimers{}
	if err := m.UnmarshalTo(c); err != nil {
		return nil, at(err, "typed_config")
	}
	out := map[overload.Timer]overload.Minimum{}
	for i, f := range c.TimerScaleFactors {
		t, ok := timerTypes[f.Timer]
		if !ok {
			return nil, at(fmt.Errorf("%s is not supported", f.Timer), "typed_config.timer_scale_factors[%d].timer", i)
		}
		if _, two := out[t]; two {
			return nil, at(errors.New("there are two of that timer"), "typed_config.timer_scale_factors[%d].timer", i)
		}
		out[t] = overload.Minimum{Least: duration(f.GetMinTimeout()), Share: f.GetMinScale().GetValue() / 100}
	}
	return out, nil
}
