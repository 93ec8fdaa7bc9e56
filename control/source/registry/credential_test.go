package registry

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weftmesh/weft/control/model"
)

func secret(name string, hash uint64, values map[string]string) *model.Secret {
	s := &model.Secret{Meta: model.Meta{Key: model.Key{Kind: model.KindSecret, Namespace: "ns", Name: name}, Hash: hash}, Values: map[string]model.PrivateBytes{}}
	for k, v := range values {
		s.Values[k] = model.PrivateBytes(v)
	}
	return s
}

// TestSecrets: a registry waits for its Secret, is followed anew when that is another, and keeps its services meanwhile.
func TestSecrets(t *testing.T) {
	w := newWorld(t)
	r := reg("a", "a", func(r *model.Registry) { r.Credential, r.Username = "ns/login", "own" })
	follow := func(secrets ...*model.Secret) {
		w.cell.Store(&model.Snapshot{Registries: []*model.Registry{r}, Secrets: secrets})
	}
	failure := func(part string) {
		t.Helper()
		w.until(func() error {
			if st := w.src.Status(); len(st) != 1 || !strings.Contains(st[0].Error, part) {
				return fmt.Errorf("%+v, want %q", st, part)
			}
			return nil
		})
	}
	follow(secret("other", 1, map[string]string{"password": "x"}))
	failure("there is no Secret ns/login")
	follow(secret("login", 2, map[string]string{"username": "theirs", "password": "one", "token": "t"}))
	w.say("a", "web 10.0.0.1:80")
	w.want("ns/web http-80: 10.0.0.1:80")
	if got := w.fake.newest(); got.Username != "own" || string(got.Password) != "one" || string(got.Token) != "t" || got.TLS != nil {
		t.Errorf("followed with %q %q %q %v", got.Username, string(got.Password), string(got.Token), got.TLS)
	}
	follow(secret("login", 3, map[string]string{"password": "two"}))
	w.until(func() error {
		if got := w.fake.newest(); string(got.Password) != "two" || len(got.Token) != 0 {
			return fmt.Errorf("followed with %q %q", string(got.Password), string(got.Token))
		}
		return nil
	})
	w.say("a", "web 10.0.0.2:80")
	w.want("ns/web http-80: 10.0.0.2:80")
	follow()
	failure("there is no Secret ns/login")
	w.want("ns/web http-80: 10.0.0.2:80")
	if st := w.src.Status()[0]; st.State != stale {
		t.Errorf("status %+v", st)
	}
}

// TestBadKeys: what cannot be used of a Secret is said with its name.
func TestBadKeys(t *testing.T) {
	for _, c := range []struct {
		tls  *model.RegistryTLS
		want string
	}{
		{nil, ""},
		{&model.RegistryTLS{ServerName: "x"}, ""},
		{&model.RegistryTLS{CA: model.PrivateBytes("no")}, "Secret ns/s: ca.crt has no certificate"},
		{&model.RegistryTLS{Cert: model.PrivateBytes("no")}, "Secret ns/s: tls.crt and tls.key: "},
	} {
		conf, err := TLS(&model.Registry{TLS: c.tls, Credential: "ns/s"})
		if got := fmt.Sprint(err); (err == nil) != (c.want == "") || c.want != "" && !strings.HasPrefix(got, c.want) {
			t.Errorf("%+v: %v, want %q", c.tls, err, c.want)
		}
		if (conf != nil) != (c.tls != nil && c.want == "") {
			t.Errorf("%+v: %v", c.tls, conf)
		}
	}
}
