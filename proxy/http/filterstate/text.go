package filterstate

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// factories tell which texts are objects, by Envoy's names of what makes them.
var factories = map[string]func(string) bool{
	"envoy.string":             anything,
	"envoy.hashable_string":    anything,
	"istio.hashable_string":    anything,
	filter.StateTCPCluster:     anything,
	filter.StateServerName:     anything,
	filter.StateHost:           something,
	filter.StateSANs:           anything,
	filter.StateALPN:           protocols,
	filter.StateNoTunnel:       boolean,
	filter.StateTCPIdle:        whole,
	filter.StatePort:           port,
	filter.StateOriginalLocal:  address,
	filter.StateOriginalRemote: address,
}

func anything(string) bool    { return true }
func something(s string) bool { return s != "" }
func boolean(s string) bool   { return s == "true" || s == "false" }

func whole(s string) bool {
	_, err := strconv.ParseUint(s, 10, 63)
	return err == nil
}

func port(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

func address(s string) bool {
	_, err := netip.ParseAddrPort(s)
	return err == nil
}

func protocols(s string) bool {
	for _, p := range Protocols(s) {
		if p == "" || len(p) > 255 {
			return false
		}
	}
	return true
}

// Protocols reads a list with commas.
func Protocols(s string) []string {
	out := strings.Split(s, ",")
	for i, p := range out {
		out[i] = strings.TrimSpace(p)
	}
	return out
}
