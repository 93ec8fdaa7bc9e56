package mesh

import (
	"fmt"
	"net/url"
	"os/exec"
	"strings"
	"testing"
)

// redisMesh: a page that uses a cache, which is two servers, and of whose writes another gets copies. All of it with mutual TLS.
const redisMesh = `apiVersion: v1
kind: Service
metadata: {name: cache, namespace: default}
spec: {selector: {app: cache}, ports: [{name: tcp-redis, port: 6379}]}
---
apiVersion: v1
kind: Service
metadata: {name: audit, namespace: default}
spec: {selector: {app: audit}, ports: [{name: redis, port: 6379}]}
---
apiVersion: v1
kind: Service
metadata: {name: page, namespace: default}
spec: {selector: {app: page}, ports: [{name: http, port: 9080}]}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: cache, namespace: default, labels: {app: cache}}
spec: {replicas: 2, command: [SERVER, --save, "", --protected-mode, "no"], ports: [{containerPort: 6379}], readinessProbe: {timeoutSeconds: 60, tcpSocket: {port: 6379}}}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: audit, namespace: default, labels: {app: audit}}
spec: {command: [SERVER, --save, "", --protected-mode, "no"], ports: [{containerPort: 6379}], readinessProbe: {timeoutSeconds: 60, tcpSocket: {port: 6379}}}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: page, namespace: default, labels: {app: page}ANNOTATIONS}
spec: {command: [BIN/redis], ports: [{containerPort: 9080}], readinessProbe: {timeoutSeconds: 60, httpGet: {path: /, port: 9080}}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: STRICT}}
---
apiVersion: v1
kind: Secret
metadata: {name: login, namespace: default}
stringData: {password: example}
---
apiVersion: redis.aeraki.io/v1alpha1
kind: RedisService
metadata: {name: cache, namespace: default}
spec:
  host: [cache]
  settings: {auth: {secret: {name: login}}, enableHashtagging: true, caseInsensitive: true}
  redis:
  - match: {key: {prefix: "S:", removePrefix: true}}
    route: {host: cache}
    mirror: [{route: {host: audit, port: 6379}, excludeReadCommands: true}]
  - route: {host: cache}
  faults: [{type: ERROR, percentage: {value: 100}, commands: [GETSET]}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: in, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: INGRESS, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: in, namespace: default}
spec: {hosts: ["*"], gateways: [in], http: [{route: [{destination: {host: page}}]}]}
`

// TestRedis: Aeraki's resources for Redis are carried out by both engines, with mutual TLS.
func TestRedis(t *testing.T) {
	t.Parallel()
	server, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("there is no redis-server")
	}
	for _, mode := range []struct{ name, engine, annotations string }{
		{"go", "go", ""}, {"on demand", "go", `, annotations: {weft.dev/config-mode: on-demand}`}, {"envoy", "envoy", ""},
	} {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			m := startText(t, redisMesh, options{engine: mode.engine}, "SERVER", server, "ANNOTATIONS", mode.annotations)
			call := func(host string, commands ...string) string {
				t.Helper()
				return strings.TrimSpace(m.get("/?"+url.Values{"host": {host}, "command": commands}.Encode(), "").body)
			}
			const login = "AUTH example"
			for _, c := range []struct {
				host     string
				commands []string
				want     string
			}{
				{"cache", []string{"GET a"}, "-NOAUTH Authentication required."},
				{"cache", []string{login, "MSET a 1 b 2 c 3 d 4 e 5 f 6", "MGET a b c d e f none"}, "+OK +OK *7 1 2 3 4 5 6 $-1"},
				{"cache", []string{login, "SET s:k v", "GET k", "GETSET k w"}, "+OK +OK v -ERR Fault Injected: Error"},
				{"cache", []string{login, "DEL a b c d e f"}, "+OK :6"},
			} {
				got := call(c.host, c.commands...)
				if mode.engine == "envoy" { // which has words of its own
					got = strings.Replace(got, "-Fault Injected: Error", "-ERR Fault Injected: Error", 1)
				}
				if got != c.want {
					t.Errorf("%v: %q, want %q", c.commands, got, c.want)
				}
			}
			m.eventually("the copy of a write", func() error {
				if got := call("audit", "GET k"); got != "v" {
					return fmt.Errorf("audit has %q", got)
				}
				return nil
			})
		})
	}
}
