package envoy

import (
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

type object = map[string]any

const (
	typeURL = "type.googleapis.com/envoy.extensions."
	// probeHost is answered by the proxy itself, and shows that a connection
	// is still of use.
	probeHost  = "probe.invalid"
	listenPort = 10000
	adminPort  = 9999
)

// logFormat holds what is compared. The case's name stands before it.
const logFormat = "%PROTOCOL% %REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% host=%REQ(:AUTHORITY)% code=%RESPONSE_CODE% flags=%RESPONSE_FLAGS% " +
	"details=%RESPONSE_CODE_DETAILS% rx=%BYTES_RECEIVED% tx=%BYTES_SENT% cluster=%UPSTREAM_CLUSTER% route=%ROUTE_NAME% grpc=%GRPC_STATUS% sni=%REQUESTED_SERVER_NAME%\n"

// place says where a proxy and its upstreams are: the same ports, at addresses
// of their own.
type place struct {
	proxy, upstream, client string // addresses
	log                     string // the access log's file
}

// hide replaces what differs between the two. For a client on the loopback
// network Envoy writes the address of the machine into x-forwarded-for, and
// Weft that of the listener.
func (p place) hide() *strings.Replacer {
	list := []string{p.proxy, "PROXY", p.upstream, "UPSTREAM", p.log, "LOG"}
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() {
			list = append(list, n.IP.String(), "PROXY")
		}
	}
	return strings.NewReplacer(list...)
}

// bootstrap is the configuration of all cases in one. It differs between the
// two proxies in addresses and in the log's name only.
func bootstrap(t *testing.T, cases []*caseFile, p place) []byte {
	t.Helper()
	var listeners []any
	clusters := []any{localCluster()}
	for i, c := range cases {
		listeners = append(listeners, c.listener(p, listenPort+i))
		clusters = append(clusters, c.clusterList(t, p, i)...)
	}
	all := object{
		"node":             object{"id": "peer", "cluster": "peers", "locality": object{"region": "r", "zone": "z1"}},
		"cluster_manager":  object{"local_cluster_name": "local", "outlier_detection": object{"event_log_path": p.log + ".ejections"}},
		"admin":            object{"address": address(p.proxy, adminPort)},
		"static_resources": object{"listeners": listeners, "clusters": clusters},
	}
	values := object{}
	for _, c := range cases {
		merge(values, c.object("runtime"))
		merge(all, c.object("bootstrap"))
	}
	merge(all, object{"layered_runtime": object{"layers": []any{object{"name": "base", "static_layer": values}, object{"name": "admin", "admin_layer": object{}}}}})
	raw, err := yaml.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return upstreamAt.ReplaceAllFunc(raw, func(m []byte) []byte {
		name := string(upstreamAt.FindSubmatch(m)[1])
		if name == "" {
			return strconv.AppendQuote(nil, p.upstream)
		}
		for i, c := range cases {
			for k, u := range c.upstreams {
				if c.cluster(u.name) == name {
					return strconv.AppendQuote(nil, strconv.Itoa(upstreamPort(i, k)))
				}
			}
		}
		t.Fatalf("there is no upstream %q", name)
		return nil
	})
}

// upstreamAt stands for the address of the upstreams, or the port of one.
var upstreamAt = regexp.MustCompile(`"?~upstream ([^~]*)~"?`)

// localCluster has one proxy in the own zone, z1, and one in z2; nothing goes there.
func localCluster() object {
	at := func(zone string, port int) object {
		a := assignment("", address("127.0.0.1", port))["endpoints"].([]any)[0].(object)
		a["locality"] = object{"region": "r", "zone": zone}
		return a
	}
	return object{
		"name": "local", "type": "STATIC", "connect_timeout": "5s",
		"load_assignment": object{"cluster_name": "local", "endpoints": []any{at("z1", 1), at("z2", 2)}},
	}
}

func address(ip string, port int) object {
	return object{"socket_address": object{"address": ip, "port_value": port}}
}

func (c *caseFile) listener(p place, port int) object {
	if c.config["udp"] != nil {
		return c.udpListener(p, port)
	}
	chain := object{"filters": c.network(p)}
	merge(chain, c.object("chain"))
	l := object{"name": c.id, "address": address(p.proxy, port), "filter_chains": []any{chain}}
	if list, ok := c.config["chains"].([]any); ok {
		list = clone(list).([]any)
		for _, ch := range list {
			if o := ch.(object); o["filters"] == nil {
				o["filters"] = c.network(p)
			}
		}
		l["filter_chains"] = list
	}
	merge(l, c.object("listener"))
	return l
}

func (c *caseFile) accessLog(p place) []any {
	return []any{object{"name": "log", "typed_config": object{
		"@type": typeURL + "access_loggers.file.v3.FileAccessLog", "path": p.log,
		"log_format": object{"text_format_source": object{"inline_string": c.name + " " + logFormat}},
	}}}
}

// network is the chain of network filters: the case's own, or a connection manager.
func (c *caseFile) network(p place) []any {
	if list, ok := c.config["network"].([]any); ok {
		list = clone(list).([]any)
		last := list[len(list)-1].(object)["typed_config"].(object)
		last["access_log"] = c.accessLog(p)
		return list
	}
	host := object{"name": "v", "domains": []any{"*"}, "routes": []any{object{"match": object{"prefix": "/"}, "route": object{"cluster": c.cluster("up")}}}}
	if r, ok := c.config["routes"]; ok {
		host["routes"] = r
	}
	merge(host, c.object("vhost"))
	hosts := []any{host}
	if list, ok := c.config["vhosts"].([]any); ok {
		hosts = slices.Clone(list)
	}
	hosts = append(hosts, object{"name": "probe", "domains": []any{probeHost}, "routes": []any{
		object{"match": object{"prefix": "/"}, "direct_response": object{"status": 299}},
	}})
	routes := object{"name": c.id, "virtual_hosts": hosts}
	merge(routes, c.object("route-config"))
	filters := []any{}
	if list, ok := c.config["filters"].([]any); ok {
		filters = append(filters, list...)
	}
	filters = append(filters, object{"name": "router", "typed_config": object{"@type": typeURL + "filters.http.router.v3.Router"}})
	hcm := object{
		"@type": typeURL + "filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": c.id,
		"route_config": routes, "http_filters": filters, "access_log": c.accessLog(p),
	}
	merge(hcm, c.object("hcm"))
	return []any{object{"name": "hcm", "typed_config": hcm}}
}

// clusterList has a cluster for each upstream, and the case's own.
func (c *caseFile) clusterList(t *testing.T, p place, index int) []any {
	t.Helper()
	var out []any
	for i, u := range c.upstreams {
		cl := object{
			"name": c.cluster(u.name), "type": "STATIC", "connect_timeout": "5s",
			"load_assignment": assignment(c.cluster(u.name), address(p.upstream, upstreamPort(index, i))),
		}
		if u.opt["h2"] != "" {
			cl["typed_extension_protocol_options"] = object{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": object{
				"@type":                typeURL + "upstreams.http.v3.HttpProtocolOptions",
				"explicit_http_config": object{"http2_protocol_options": object{}},
			}}
		}
		own := c.object("cluster " + u.name)
		if u.name == "up" {
			own = c.object("cluster")
		}
		merge(cl, own)
		out = append(out, cl)
	}
	if list, ok := c.config["clusters"].([]any); ok {
		for _, m := range list {
			out = append(out, c.resolve(clone(m), p, index))
		}
	}
	for title := range c.config {
		name, ok := strings.CutPrefix(title, "cluster ")
		if ok && !hasScript(c.upstreams, name) {
			t.Errorf("%s: section %q: there is no such upstream", c.name, title)
		}
	}
	return out
}

// resolve replaces {upstream: NAME} by that upstream's endpoint.
func (c *caseFile) resolve(v any, p place, index int) any {
	switch v := v.(type) {
	case object:
		if name, ok := v["upstream"].(string); ok {
			for i, u := range c.upstreams {
				if u.name == name {
					delete(v, "upstream")
					v["endpoint"] = object{"address": address(p.upstream, upstreamPort(index, i))}
				}
			}
		}
		for k, x := range v {
			v[k] = c.resolve(x, p, index)
		}
	case []any:
		for i, x := range v {
			v[i] = c.resolve(x, p, index)
		}
	}
	return v
}

func assignment(name string, addresses ...object) object {
	var eps []any
	for _, a := range addresses {
		eps = append(eps, object{"endpoint": object{"address": a}})
	}
	return object{"cluster_name": name, "endpoints": []any{object{"lb_endpoints": eps}}}
}

// upstreamPort: each case has room for eight upstreams. `weft up --capture proxy`, which other tests run,
// has ports from 20000.
func upstreamPort(index, upstream int) int { return 22000 + index*8 + upstream }

func (c *caseFile) object(title string) object {
	o, _ := c.config[title].(object)
	return clone(o).(object)
}

func clone(v any) any {
	switch v := v.(type) {
	case object:
		out := object{}
		for k, x := range v {
			out[k] = clone(x)
		}
		return out
	case []any:
		out := make([]any, 0, len(v))
		for _, x := range v {
			out = append(out, clone(x))
		}
		return out
	}
	return v
}

// merge puts over into base; objects are merged, all else is replaced.
func merge(base, over object) {
	for k, v := range over {
		if b, ok := base[k].(object); ok {
			if o, ok := v.(object); ok {
				merge(b, o)
				continue
			}
		}
		base[k] = v
	}
}
