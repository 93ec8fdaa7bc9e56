package mesh

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// mistake is one file that is wrong, and what the line that names it has to say:
// the file, the object, the field, and what to do.
type mistake struct {
	file, text string
	want       []string
}

const virtualService = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"

var mistakes = []mistake{
	{"kind.yaml", "apiVersion: networking.istio.io/v1\nkind: VirtualServise\nmetadata: {name: a}\nspec: {hosts: [web]}\n",
		[]string{"kind.yaml:", "VirtualServise", "did you mean VirtualService"}},
	{"version.yaml", "apiVersion: networking.istio.io/v9\nkind: VirtualService\nmetadata: {name: a}\nspec: {hosts: [web]}\n",
		[]string{"version.yaml:", "v9"}},
	{"twice.yaml", virtualService + "metadata: {name: twice}\nspec: {hosts: [web], http: [{route: [{destination: {host: web}}]}]}\n---\n" +
		virtualService + "metadata: {name: twice}\nspec: {hosts: [echo], http: [{route: [{destination: {host: echo}}]}]}\n",
		[]string{"twice.yaml:", "VirtualService default/twice"}},
	{"host.yaml", virtualService + "metadata: {name: host}\nspec: {hosts: [h1], http: [{route: [{destination: {host: nowhere}}]}]}\n",
		[]string{"host.yaml:", "VirtualService default/host", "spec.http[0].route[0].destination.host", "nowhere"}},
	{"regex.yaml", virtualService + "metadata: {name: regex}\nspec: {hosts: [h2], http: [{match: [{uri: {regex: \"(\"}}], route: [{destination: {host: web}}]}]}\n",
		[]string{"regex.yaml:", "VirtualService default/regex", "spec.http[0].match[0].uri.regex"}},
	{"weight.yaml", virtualService + "metadata: {name: weight}\nspec:\n  hosts: [h3]\n  http:\n  - route:\n    - {destination: {host: web}, weight: ninety}\n",
		[]string{"weight.yaml:8", "VirtualService default/weight", "spec.http[0].route[0].weight", "ninety"}},
	{"field.yaml", virtualService + "metadata: {name: field}\nspec: {hosts: [h4], http: [{rout: [{destination: {host: web}}]}]}\n",
		[]string{"field.yaml:", "VirtualService default/field", "rout", "route"}},
	{"yaml.yaml", "apiVersion: v1\nkind: Service\n\tmetadata: {name: tab}\n", []string{"yaml.yaml:", "not valid YAML"}},
	{"noname.yaml", "apiVersion: v1\nkind: Service\nmetadata: {namespace: default}\nspec: {ports: [{port: 80}]}\n",
		[]string{"noname.yaml:", "metadata.name"}},
	{"type.yaml", virtualService + "metadata: {name: type}\nspec: {hosts: web}\n",
		[]string{"type.yaml:", "VirtualService default/type", "spec.hosts"}},
	{"port.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: port}\nspec: {ports: [{name: http, port: 99999}]}\n",
		[]string{"port.yaml:", "Service default/port", "spec.ports[0].port", "99999"}},
	{"subset.yaml", virtualService + "metadata: {name: subset}\nspec: {hosts: [h5], http: [{route: [{destination: {host: web, subset: v9}}]}]}\n",
		[]string{"subset.yaml:", "VirtualService default/subset", "subset", "v9"}},
	{"selector.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: lonely}\nspec: {selector: {app: nobody}, ports: [{name: http, port: 80}]}\n",
		[]string{"selector.yaml:", "Service default/lonely", "spec.selector"}},
	{"secret.yaml", "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: secret}\nspec:\n  selector: {istio: other}\n  servers:\n" +
		"  - port: {number: 9443, name: https, protocol: HTTPS}\n    hosts: [a.example.com]\n    tls: {mode: SIMPLE, credentialName: missing}\n",
		[]string{"secret.yaml:", "Gateway default/secret", "credentialName", "missing"}},
	{"cidr.yaml", "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: cidr}\nspec: {rules: [{from: [{source: {ipBlocks: [10.0.0.0/99]}}]}]}\n",
		[]string{"cidr.yaml:", "AuthorizationPolicy default/cidr", "spec.rules[0].from[0].source.ipBlocks[0]"}},
	{"duration.yaml", virtualService + "metadata: {name: duration}\nspec: {hosts: [h6], http: [{timeout: \"5 seconds\", route: [{destination: {host: web}}]}]}\n",
		[]string{"duration.yaml:", "VirtualService default/duration", "spec.http[0].timeout"}},
	{"mode.yaml", "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: mode}\nspec: {mtls: {mode: STRIKT}}\n",
		[]string{"mode.yaml:", "PeerAuthentication default/mode", "spec.mtls.mode", "STRICT"}},
	{"command.yaml", "apiVersion: weft.dev/v1alpha1\nkind: Process\nmetadata: {name: nocommand}\nspec: {replicas: 1}\n",
		[]string{"command.yaml:", "Process default/nocommand", "spec.command"}},
	{"account.yaml", "apiVersion: weft.dev/v1alpha1\nkind: Process\nmetadata: {name: account}\nspec: {command: [sleep, \"1000\"], serviceAccountName: ghost}\n",
		[]string{"account.yaml:", "Process default/account", "serviceAccountName", "ghost"}},
	{"garbage.yaml", "\x00\x01\x02\xff\xfe binary", []string{"garbage.yaml", "not a text file"}},
	{"program.yaml", "apiVersion: weft.dev/v1alpha1\nkind: Process\nmetadata: {name: unreachable}\nspec: {command: [/no/such/program]}\n",
		[]string{"unreachable-0", "/no/such/program"}},
	{"dies.yaml", "apiVersion: weft.dev/v1alpha1\nkind: Process\nmetadata: {name: dies}\nspec: {command: [sh, -c, \"echo last words; exit 3\"]}\n",
		[]string{"dies-0", "exit code 3", "again in"}},
	{"conflict.yaml", "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: conflict}\nspec:\n  selector: {istio: ingressgateway}\n  servers:\n" +
		"  - port: {number: GATEWAY, name: tcp, protocol: TCP}\n    hosts: [\"*\"]\n",
		[]string{"conflict.yaml:", "Gateway default/conflict", "port"}},
}

// TestMistakes: a folder full of mistakes. Each is named, and the good rest runs.
func TestMistakes(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for _, x := range mistakes {
		s.write(t, x.file, strings.ReplaceAll(x.text, "GATEWAY", fmt.Sprint(s.gateway)))
	}
	m := start(t, s.dir, options{engine: "go", unready: true})
	m.base = fmt.Sprintf("http://127.0.0.1:%d", s.gateway)
	m.eventually("the good rest serves", func() error {
		a, err := m.try("/api/quote/loom", "")
		if err == nil && a.code != 200 {
			err = fmt.Errorf("%d %s", a.code, a.body)
		}
		return err
	})
	m.want("/api/books", "", 200, `"catalog":"v1"`)
	for _, x := range mistakes {
		m.eventually(x.file+" is named", func() error {
			var near []string
			for line := range strings.Lines(m.out.String()) {
				if containsAll(line, x.want...) {
					return nil
				}
				if strings.Contains(line, x.want[0]) {
					near = append(near, line)
				}
			}
			return fmt.Errorf("no line with %q; there are\n%s", x.want, strings.Join(near, ""))
		})
	}
	if out, code := m.weft("status", "process", "unreachable"); code != 5 || !regexp.MustCompile(`Ready +False +0 of 1 instances: unreachable-0 is \w+ \(.*/no/such/program`).MatchString(out) {
		t.Errorf("status of a program that is not there, with %d:\n%s", code, out)
	}
	if !strings.Contains(m.out.String(), "last words") {
		t.Error("the last words of the program that dies are not shown")
	}
}
