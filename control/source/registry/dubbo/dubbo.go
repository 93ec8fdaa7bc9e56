// Package dubbo reads how Dubbo's services are written down in registries: the URLs of providers, one for each
// interface, and since Dubbo 3 the instances of applications with the metadata that says what they serve.
//
// It does no I/O.
package dubbo

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/registry"
)

// Parameters of URLs that are no labels: they differ with each start, or are very long.
var left = []string{"pid", "timestamp", "dubbo", "methods"}

// Provider reads a provider's URL, as it is the name of a node.
func Provider(node string) (registry.Dubbo, registry.Instance, error) {
	var id registry.Dubbo
	var in registry.Instance
	text, err := url.QueryUnescape(node)
	if err != nil {
		return id, in, err
	}
	u, err := url.Parse(text)
	if err != nil {
		return id, in, err
	}
	q := map[string]string{}
	for k, v := range u.Query() {
		q[k] = v[0]
	}
	id = registry.Dubbo{Interface: q["interface"], Group: q["group"], Version: q["version"]}
	if id.Interface == "" {
		id.Interface = strings.TrimPrefix(u.Path, "/")
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	switch {
	case err != nil:
		return id, in, fmt.Errorf("%q has no port", u.Host)
	case id.Interface == "":
		return id, in, errors.New("no interface")
	}
	in = instance(u.Hostname(), uint16(port), u.Scheme, q)
	return id, in, nil
}

// instance makes an instance of parameters.
func instance(address string, port uint16, protocol string, params map[string]string) registry.Instance {
	in := registry.Instance{Address: address, Port: port, Protocol: Protocol(protocol), Labels: map[string]string{}}
	maps.Copy(in.Labels, params)
	for _, k := range left {
		delete(in.Labels, k)
	}
	in.Labels["protocol"] = protocol
	in.Off = params["enabled"] == "false" || params["disabled"] == "true" || params["weight"] == "0"
	if w, err := strconv.ParseUint(params["weight"], 10, 16); err == nil {
		in.Weight = uint32(w)
	}
	return in
}

// Protocol is the mesh's name for one of Dubbo's.
func Protocol(scheme string) model.Protocol {
	switch scheme {
	case "dubbo":
		return model.MessagesOf("dubbo")
	case "tri", "triple", "grpc":
		return model.GRPC
	case "rest", "http", "hessian":
		return model.HTTP
	case "thrift", "native-thrift":
		return model.MessagesOf("thrift")
	}
	return model.TCP
}

// App is an instance of an application.
type App struct {
	Address string
	// Revision names what it serves; empty: nothing.
	Revision string
	// Metadata are those of the instance.
	Metadata  map[string]string
	Endpoints []Endpoint
}

// Endpoint is a port of an App.
type Endpoint struct {
	Port     uint16 `json:"port"`
	Protocol string `json:"protocol"`
}

// Application reads an instance of an application as ZooKeeper has it.
func Application(data []byte) (App, error) {
	var node struct {
		Address string `json:"address"`
		Port    int    `json:"port"`
		Payload struct {
			Metadata map[string]string `json:"metadata"`
		} `json:"payload"`
	}
	if err := json.Unmarshal(data, &node); err != nil {
		return App{}, err
	}
	return NewApp(node.Address, node.Port, node.Payload.Metadata)
}

// NewApp makes an App of what a registry has of one.
func NewApp(address string, port int, metadata map[string]string) (App, error) {
	a := App{Address: address, Metadata: metadata, Revision: metadata["dubbo.metadata.revision"]}
	if text := metadata["dubbo.endpoints"]; text != "" {
		if err := json.Unmarshal([]byte(text), &a.Endpoints); err != nil {
			return a, fmt.Errorf("dubbo.endpoints: %w", err)
		}
	}
	if len(a.Endpoints) == 0 && port > 0 && port < 1<<16 {
		a.Endpoints = []Endpoint{{uint16(port), "dubbo"}}
	}
	if a.Address == "" {
		return a, errors.New("no address")
	}
	return a, nil
}

// Served is one service of an application's metadata.
type Served struct {
	ID       registry.Dubbo
	Protocol string
	Port     uint16
	Params   map[string]string
}

// Metadata reads what an application of a revision serves, as the metadata center has it.
func Metadata(data []byte) ([]Served, error) {
	var info struct {
		App      string `json:"app"`
		Services map[string]struct {
			Name     string            `json:"name"`
			Group    string            `json:"group"`
			Version  string            `json:"version"`
			Protocol string            `json:"protocol"`
			Port     int               `json:"port"`
			Params   map[string]string `json:"params"`
		} `json:"services"`
	}
	if err := json.Unmarshal(data, &info); err != nil {
		return nil, err
	}
	var out []Served
	for _, k := range slices.Sorted(maps.Keys(info.Services)) {
		s := info.Services[k]
		if s.Name == "" {
			continue
		}
		if s.Params == nil {
			s.Params = map[string]string{}
		}
		if s.Params["application"] == "" {
			s.Params["application"] = info.App
		}
		one := Served{ID: registry.Dubbo{Interface: s.Name, Group: s.Group, Version: s.Version}, Protocol: s.Protocol, Params: s.Params}
		if s.Port > 0 && s.Port < 1<<16 {
			one.Port = uint16(s.Port)
		}
		out = append(out, one)
	}
	return out, nil
}

// Instances are those that an application's instance is of an interface. served is what it serves; nil: it is not
// known, and every port serves the interface, without group and version.
func (a *App) Instances(name string, served []Served) map[registry.Dubbo][]registry.Instance {
	out := map[registry.Dubbo][]registry.Instance{}
	add := func(id registry.Dubbo, port uint16, protocol string, params map[string]string) {
		all := map[string]string{}
		maps.Copy(all, params)
		for k, v := range a.Metadata {
			if !strings.HasPrefix(k, "dubbo.") {
				all[k] = v
			}
		}
		all["interface"] = id.Interface
		for k, v := range map[string]string{"group": id.Group, "version": id.Version} {
			if v != "" {
				all[k] = v
			}
		}
		out[id] = append(out[id], instance(a.Address, port, protocol, all))
	}
	if served == nil {
		for _, e := range a.Endpoints {
			add(registry.Dubbo{Interface: name}, e.Port, e.Protocol, nil)
		}
		return out
	}
	for _, s := range served {
		if s.ID.Interface != name {
			continue
		}
		port := s.Port
		for _, e := range a.Endpoints {
			if e.Protocol == s.Protocol {
				port = e.Port
			}
		}
		if port != 0 {
			add(s.ID, port, s.Protocol, s.Params)
		}
	}
	return out
}

// Mapping reads which applications have an interface.
func Mapping(data []byte) []string {
	var out []string
	for name := range strings.SplitSeq(string(data), ",") {
		if name = strings.TrimSpace(name); name != "" {
			out = append(out, name)
		}
	}
	return out
}
