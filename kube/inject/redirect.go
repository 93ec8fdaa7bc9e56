package inject

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"istio.io/api/annotation"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/wire"
)

// captured is what is redirected, in the words of the annotations.
type captured struct {
	includeNets, excludeNets                       string
	includeIn, excludeIn, includeOut, excludeOut   string
	hasIncludeOut, hasExcludeOut                   bool
	reroute, skipInterfaces                        string
	rerouteDeprecated, hasReroute, hasSkipInterace bool
}

func (w *work) captured() captured {
	s := w.settings.Capture
	c := captured{
		includeNets: w.note(annotation.SidecarTrafficIncludeOutboundIPRanges.Name, s.IncludeOutboundIPRanges),
		excludeNets: w.note(annotation.SidecarTrafficExcludeOutboundIPRanges.Name, s.ExcludeOutboundIPRanges),
		includeIn:   w.note(annotation.SidecarTrafficIncludeInboundPorts.Name, s.IncludeInboundPorts),
		excludeIn:   w.agentExcluded(w.note(annotation.SidecarTrafficExcludeInboundPorts.Name, s.ExcludeInboundPorts)),
		includeOut:  w.note(annotation.SidecarTrafficIncludeOutboundPorts.Name, s.IncludeOutboundPorts),
		excludeOut:  w.note(annotation.SidecarTrafficExcludeOutboundPorts.Name, s.ExcludeOutboundPorts),
	}
	has := func(name string) bool { _, ok := w.pod.Annotations[name]; return ok }
	c.hasIncludeOut = has(annotation.SidecarTrafficIncludeOutboundPorts.Name) || c.includeOut != ""
	c.hasExcludeOut = has(annotation.SidecarTrafficExcludeOutboundPorts.Name) || c.excludeOut != ""
	c.hasReroute = has(annotation.IoIstioRerouteVirtualInterfaces.Name)
	c.rerouteDeprecated = has(annotation.SidecarTrafficKubevirtInterfaces.Name) && !c.hasReroute
	c.reroute = w.note(annotation.IoIstioRerouteVirtualInterfaces.Name, w.note(annotation.SidecarTrafficKubevirtInterfaces.Name, ""))
	c.hasSkipInterace = has(annotation.SidecarTrafficExcludeInterfaces.Name)
	c.skipInterfaces = w.note(annotation.SidecarTrafficExcludeInterfaces.Name, "")
	return c
}

// agentExcluded adds the agent's port to those that are not redirected.
func (w *work) agentExcluded(list string) string {
	if w.statusPort == 0 {
		return list
	}
	port := strconv.Itoa(w.statusPort)
	var out []string
	for p := range strings.SplitSeq(list, ",") {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	if slices.Contains(out, port) {
		return list
	}
	return strings.Join(append(out, port), ",")
}

// redirect is the init container that leads traffic to the proxy; where a CNI plug-in
// does so, the one that waits until it has.
func (w *work) redirect() corev1.Container {
	uid := strconv.FormatInt(w.uid, 10)
	if w.mode == modeTPROXY {
		uid = strconv.Itoa(proxyID)
	}
	c := w.captured()
	never := []string{strconv.Itoa(wire.PortPrometheus), strconv.Itoa(wire.PortHealth)}
	if c.excludeIn != "" {
		never = append(never, c.excludeIn)
	}
	args := []string{
		"istio-iptables", "-p", portArg(w.mesh.GetProxyListenPort(), wire.PortOutbound), "-z", portArg(w.mesh.GetProxyInboundListenPort(), wire.PortInbound),
		"-u", uid, "-m", w.mode, "-i", c.includeNets, "-x", c.excludeNets, "-b", c.includeIn, "-d", strings.Join(never, ","),
	}
	if c.hasIncludeOut {
		args = append(args, "-q", c.includeOut)
	}
	if c.hasExcludeOut {
		args = append(args, "-o", c.excludeOut)
	}
	if c.hasReroute || c.rerouteDeprecated {
		args = append(args, "-k", c.reroute)
	}
	if c.hasSkipInterace {
		args = append(args, "-c", c.skipInterfaces)
	}
	args = append(args, "--log_output_level="+w.note(annotation.SidecarAgentLogLevel.Name, w.settings.AgentLogLevel))
	if w.settings.LogAsJSON {
		args = append(args, "--log_as_json")
	}
	out := corev1.Container{
		Name: initName, Image: w.initImage(), ImagePullPolicy: w.settings.ImagePullPolicy, Args: args, Env: w.metadata(), Resources: w.resources(),
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr(false), Privileged: ptr(false), ReadOnlyRootFilesystem: ptr(true), RunAsNonRoot: ptr(false), RunAsUser: ptr(int64(0)), RunAsGroup: ptr(int64(0)),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_ADMIN"}},
		},
	}
	if w.settings.CNI != nil {
		w.onlyCheck(&out)
	}
	return out
}

// onlyCheck makes of the container that redirects one that waits for who else does.
func (w *work) onlyCheck(c *corev1.Container) {
	uid, gid := w.uid, w.gid
	if w.mode == modeTPROXY {
		uid, gid = proxyID, proxyID
	}
	c.Name = validationName
	c.Args = append(c.Args, "--run-validation", "--skip-rule-apply")
	c.SecurityContext.RunAsNonRoot, c.SecurityContext.RunAsUser, c.SecurityContext.RunAsGroup = ptr(true), ptr(uid), ptr(gid)
	c.SecurityContext.Capabilities.Add = nil
}

func portArg(port, otherwise int32) string {
	if port == 0 {
		port = otherwise
	}
	return strconv.Itoa(int(port))
}

// multusNetwork is what Multus knows the plug-in as.
const multusNetwork = "default/istio-cni"

// multusKey lists a pod's networks.
const multusKey = "k8s.v1.cni.cncf.io/networks"

// noteCapture tells a CNI plug-in by annotations what an init container is told by its
// arguments.
func (w *work) noteCapture(notes map[string]string) {
	if w.settings.CNI == nil {
		return
	}
	c := w.captured()
	if w.settings.CNI.Multus {
		notes[multusKey] = addNetwork(w.pod.Annotations[multusKey])
	}
	notes[annotation.SidecarInterceptionMode.Name] = w.mode
	notes[annotation.SidecarTrafficIncludeInboundPorts.Name] = c.includeIn
	notes[annotation.SidecarTrafficExcludeInboundPorts.Name] = c.excludeIn
	set := func(name, value string, when bool) {
		if when {
			notes[name] = value
		}
	}
	set(annotation.SidecarTrafficIncludeOutboundIPRanges.Name, c.includeNets, c.includeNets != "")
	set(annotation.SidecarTrafficExcludeOutboundIPRanges.Name, c.excludeNets, c.excludeNets != "")
	set(annotation.SidecarTrafficIncludeOutboundPorts.Name, c.includeOut, c.hasIncludeOut)
	set(annotation.SidecarTrafficExcludeOutboundPorts.Name, c.excludeOut, c.hasExcludeOut)
}

// addNetwork adds the plug-in's network to a list in either of Multus' forms.
func addNetwork(list string) string {
	if strings.TrimSpace(list) == "" {
		return multusNetwork
	}
	if !strings.HasPrefix(strings.TrimSpace(list), "[") {
		for n := range strings.SplitSeq(list, ",") {
			if strings.TrimSpace(n) == multusNetwork {
				return list
			}
		}
		return list + ", " + multusNetwork
	}
	var nets []map[string]any
	if json.Unmarshal([]byte(list), &nets) != nil {
		return list // Multus will say what is wrong
	}
	namespace, name, _ := strings.Cut(multusNetwork, "/")
	for _, n := range nets {
		if n["name"] == name && n["namespace"] == namespace {
			return list
		}
	}
	raw, err := json.Marshal(append(nets, map[string]any{"name": name, "namespace": namespace}))
	if err != nil {
		panic(fmt.Sprintf("BUG: %v", err))
	}
	return string(raw)
}
