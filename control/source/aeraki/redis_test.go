package aeraki_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/file"
)

const redisDocument = `apiVersion: redis.aeraki.io/v1alpha1
kind: RedisService
metadata: {name: cache, namespace: shop}
spec:
  host: [cache, cache.other.svc.cluster.local]
  settings: {opTimeout: 3s, readPolicy: PREFER_REPLICA, caseInsensitive: true, auth: {secret: {name: s}}}
  redis:
  - match: {key: {prefix: a, removePrefix: true}}
    route: {host: one, port: 6380}
    mirror: [{route: {host: two, port: 6381}, percentage: {value: 10}}]
  - route: {host: one}
  faults: [{type: ERROR, commands: [GET]}]
`

// TestRedisService: what Aeraki forgets or confuses comes through.
func TestRedisService(t *testing.T) {
	objects, findings := file.Decode([]byte(redisDocument), "a.yaml")
	if len(findings) > 0 || len(objects) != 1 {
		t.Fatal(objects, findings)
	}
	r := objects[0].(*model.RedisService)
	if r.Hosts[0] != "cache.shop.svc.cluster.local" || r.Settings.ReadPolicy != "PREFER_REPLICA" || !r.Settings.IgnoreCase || r.Settings.OpTimeout != 3*time.Second {
		t.Errorf("%+v", r)
	}
	if m := r.Routes[0].Mirrors[0]; m.To.Port != 6381 || m.To.Host != "two.shop.svc.cluster.local" || m.Percent != 10 || r.Routes[0].To.Port != 6380 {
		t.Errorf("%+v", r.Routes[0])
	}
	if !r.Routes[1].Any || r.Settings.Auth.PasswordField != "password" || r.Faults[0].Percent != 100 {
		t.Errorf("%+v", r)
	}
}

// TestRedisMistakes names what cannot be meant.
func TestRedisMistakes(t *testing.T) {
	for change, field := range map[string]string{
		"opTimeout: 3s→opTimeout: soon":                         "spec.settings.opTimeout",
		"PREFER_REPLICA→NEAREST":                                "spec.settings.readPolicy",
		"{secret: {name: s}}→{plain: {username: u}}":            "spec.settings.auth.plain.password",
		"host: [cache, cache.other.svc.cluster.local]→host: []": "spec.host",
		"value: 10→value: 101":                                  "spec.redis[0].mirror[0].percentage.value",
		"type: ERROR→type: DELAY":                               "spec.faults[0].delay",
		"{key: {prefix: a, removePrefix: true}}→{}":             "spec.redis[1].match.key.prefix",
		"port: 6380→port: 70000":                                "spec.redis[0].route.port",
	} {
		was, is, _ := strings.Cut(change, "→")
		_, findings := file.Decode([]byte(strings.Replace(redisDocument, was, is, 1)), "a.yaml")
		var said []string
		for _, f := range findings {
			said = append(said, fmt.Sprint(f.Severity, " ", f.Field))
		}
		if got := strings.Join(said, ", "); got != "error "+field {
			t.Errorf("%s: %s", change, got)
		}
	}
}
