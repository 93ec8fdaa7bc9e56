package etcd

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/control/source/registry"
	"github.com/weftmesh/weft/control/source/registry/dubbo"
)

// format is a convention of keys and values.
type format struct {
	// prefix is where its keys are unless the user says otherwise.
	prefix string
	// read reads what comes after the prefix of a key, and its value.
	read func(key string, value []byte) (registry.Service, []registry.Instance, error)
}

var errNotOurs = errors.New("not a registration")

var formats = map[string]format{
	"dubbo":    {"/dubbo", readDubbo},
	"go-micro": {"/micro/registry", readMicro},
	"kratos":   {"/microservices", readKratos},
	"weft":     {"/weft/services", readOwn},
}

// readDubbo reads INTERFACE/providers/URL.
func readDubbo(key string, _ []byte) (registry.Service, []registry.Instance, error) {
	parts := strings.SplitN(key, "/", 3)
	if len(parts) != 3 || parts[1] != "providers" {
		return registry.Service{}, nil, errNotOurs
	}
	id, in, err := dubbo.Provider(parts[2])
	if err == nil && in.Protocol == "" {
		err = errNotOurs
	}
	return registry.Service{Name: id.String(), Dubbo: &id}, []registry.Instance{in}, err
}

// named is the service of a key NAME/ID, whose value is read into v.
func named(key string, value []byte, v any) (registry.Service, error) {
	i := strings.LastIndexByte(key, '/')
	if i <= 0 {
		return registry.Service{}, errNotOurs
	}
	return registry.Service{Name: key[:i]}, json.Unmarshal(value, v)
}

// place reads host:port.
func place(s string) (string, uint16, error) {
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not an address and a port", s)
	}
	return a.Addr().String(), a.Port(), nil
}

// readMicro reads go-micro's services, each key one with its nodes.
func readMicro(key string, value []byte) (registry.Service, []registry.Instance, error) {
	var v struct {
		Name     string            `json:"name"`
		Version  string            `json:"version"`
		Metadata map[string]string `json:"metadata"`
		Nodes    []struct {
			ID       string            `json:"id"`
			Address  string            `json:"address"`
			Metadata map[string]string `json:"metadata"`
		} `json:"nodes"`
	}
	s, err := named(key, value, &v)
	if err != nil {
		return s, nil, err
	}
	if v.Name != "" {
		s.Name = v.Name
	}
	var out []registry.Instance
	for _, n := range v.Nodes {
		in := registry.Instance{Labels: labels(v.Version, v.Metadata, n.Metadata)}
		if in.Address, in.Port, err = place(n.Address); err != nil {
			return s, nil, err
		}
		in.Protocol, _ = document.Protocol(n.Metadata["protocol"])
		out = append(out, in)
	}
	return s, out, nil
}

// readKratos reads kratos' instances, each with an endpoint for every protocol.
func readKratos(key string, value []byte) (registry.Service, []registry.Instance, error) {
	var v struct {
		Name      string            `json:"name"`
		Version   string            `json:"version"`
		Metadata  map[string]string `json:"metadata"`
		Endpoints []string          `json:"endpoints"`
	}
	s, err := named(key, value, &v)
	if err != nil {
		return s, nil, err
	}
	if v.Name != "" {
		s.Name = v.Name
	}
	var out []registry.Instance
	for _, e := range v.Endpoints {
		u, err := url.Parse(e)
		if err != nil {
			return s, nil, err
		}
		in := registry.Instance{Labels: labels(v.Version, v.Metadata)}
		if in.Address, in.Port, err = place(u.Host); err != nil {
			return s, nil, err
		}
		in.Protocol, _ = document.Protocol(u.Scheme)
		out = append(out, in)
	}
	return s, out, nil
}

// readOwn reads our own form: one instance a key.
func readOwn(key string, value []byte) (registry.Service, []registry.Instance, error) {
	var v struct {
		Address  string            `json:"address"`
		Port     uint16            `json:"port"`
		Protocol string            `json:"protocol"`
		Weight   *uint32           `json:"weight"`
		Disabled bool              `json:"disabled"`
		Metadata map[string]string `json:"metadata"`
	}
	s, err := named(key, value, &v)
	if err != nil {
		return s, nil, err
	}
	in := registry.Instance{Address: v.Address, Port: v.Port, Labels: labels("", v.Metadata), Off: v.Disabled}
	if v.Protocol != "" {
		var ok bool
		if in.Protocol, ok = document.Protocol(v.Protocol); !ok {
			return s, nil, errors.New("protocol " + strconv.Quote(v.Protocol) + " is not known")
		}
	}
	if v.Weight != nil {
		in.Weight, in.Off = *v.Weight, in.Off || *v.Weight == 0
	}
	return s, []registry.Instance{in}, nil
}

func labels(version string, metadata ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range metadata {
		maps.Copy(out, m)
	}
	if version != "" {
		out["version"] = version
	}
	return out
}
