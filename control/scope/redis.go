package scope

import (
	"slices"

	"github.com/weftmesh/weft/control/model"
)

// Redis is what is said of the commands to a host: the first object wins; nil: nothing is.
func (x *Index) Redis(host string) *model.RedisService {
	for _, r := range x.Snapshot.Redis {
		if slices.Contains(r.Hosts, host) {
			return r
		}
	}
	return nil
}

// RedisDestination is how the servers of a host are spoken to: the first object wins; nil: nothing is said.
func (x *Index) RedisDestination(host string) *model.RedisDestination {
	for _, r := range x.Snapshot.RedisDestinations {
		if r.Host == host {
			return r
		}
	}
	return nil
}

// ProxiesRedis tells whether a proxy of that engine reads the commands to a service's port: the own one does wherever a port
// is named so; Envoy, which knows fewer commands than servers do, where an object asks for it.
func (x *Index) ProxiesRedis(engine string, s *model.Service, p *model.ServicePort) bool {
	if p.Protocol != model.Redis {
		return false
	}
	return engine == EngineGo || x.Redis(s.Host) != nil || x.RedisDestination(s.Host) != nil
}

// readsRedis tells whether the proxy reads the commands to a host that it sees.
func (v *View) readsRedis(host string) bool {
	s := v.Service(host)
	return s != nil && !v.Proxy.Gateway() && slices.ContainsFunc(s.Ports, func(p model.ServicePort) bool {
		return v.Index.ProxiesRedis(v.Proxy.Engine(), s, &p)
	})
}

// RedisLogin is a user and a password. false: the Secret of that namespace has none.
func (x *Index) RedisLogin(namespace string, a *model.RedisAuth) (user, password string, ok bool) {
	if a.Secret == "" {
		return a.Username, string(a.Password), true
	}
	s := x.Secret(namespace + "/" + a.Secret)
	if s == nil || len(s.Values[a.PasswordField]) == 0 {
		return "", "", false
	}
	fields := []string{a.UsernameField}
	if a.UsernameField == "" {
		fields = []string{"username", "token"}
	}
	for _, f := range fields {
		if v := s.Values[f]; len(v) > 0 && user == "" {
			user = string(v)
		}
	}
	return user, string(s.Values[a.PasswordField]), true
}
