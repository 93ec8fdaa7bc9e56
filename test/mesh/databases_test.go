package mesh

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// databases is a mesh of two servers that speak before their clients do, or whose
// protocol nothing but a name tells, and of clients of either engine.
const databases = `apiVersion: v1
kind: Service
metadata: {name: maria, namespace: default}
spec: {selector: {app: maria}, ports: [{name: mysql, port: 3306}]}
---
apiVersion: v1
kind: Service
metadata: {name: postgres, namespace: default}
spec: {selector: {app: postgres}, ports: [{name: db, appProtocol: postgresql, port: 5432}]}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: maria, namespace: default, labels: {app: maria}}
spec:
  command: [sh, -c, "mkdir -p DATA/maria && exec MARIADBD --no-defaults --datadir=DATA/maria --socket=DATA/maria.sock --skip-grant-tables --skip-networking=0 --bind-address=0.0.0.0 --innodb-log-file-size=4M --innodb-buffer-pool-size=8M $([ $(id -u) = 0 ] && echo --user=root)"]
  ports: [{containerPort: 3306}]
  readinessProbe: {timeoutSeconds: 60, tcpSocket: {port: 3306}}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: postgres, namespace: default, labels: {app: postgres}}
spec:
  command: [sh, DATA/postgres.sh]
  sidecar: {engine: envoy}
  ports: [{containerPort: 5432}]
  readinessProbe: {timeoutSeconds: 60, tcpSocket: {port: 5432}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: STRICT}}
`

// databaseClient asks both until they answer, and says so in a file.
const databaseClient = `---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: client-%[1]s, namespace: default, labels: {app: client-%[1]s}}
spec:
  command: [sh, DATA/client.sh, %[1]s]
  sidecar: {engine: %[1]s}
`

const postgresScript = `set -e
as=
[ $(id -u) = 0 ] && as="setpriv --reuid=postgres --regid=postgres --clear-groups"
mkdir -p DATA/postgres
[ -z "$as" ] || chown postgres DATA/postgres
$as BINDIR/initdb --no-sync -A trust -D DATA/postgres -U weft
echo "host all all all trust" | $as tee -a DATA/postgres/pg_hba.conf
exec $as BINDIR/postgres -D DATA/postgres -c listen_addresses=* -c unix_socket_directories=DATA/postgres -c fsync=off
`

const clientScript = `
for i in maria postgres; do
  case $i in
  maria) ask="mariadb --no-defaults --skip-column-names -h maria -P 3306 -u root -e" ;;
  postgres) ask="psql -h postgres -U weft -At postgres -c" ;;
  esac
  until $ask 'select 40+2' > DATA/$i-$1.tmp && mv DATA/$i-$1.tmp DATA/$i-$1; do sleep 1; done
done
exec sleep 100000
`

// TestDatabases: MariaDB and PostgreSQL through sidecars with strict mutual TLS. WEFT_DATABASES says
// that they are installed.
func TestDatabases(t *testing.T) {
	if os.Getenv("WEFT_DATABASES") == "" {
		t.Skip("WEFT_DATABASES is not set: apt-get install mariadb-server-core mariadb-client-core postgresql")
	}
	t.Parallel()
	server, err := exec.LookPath("mariadbd")
	if err != nil {
		server = "/usr/sbin/mariadbd"
	}
	postgres, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if len(postgres) == 0 {
		t.Fatal("there is no PostgreSQL in /usr/lib/postgresql")
	}
	data := work(t)
	if err := os.Chmod(data, 0o777); err != nil { //nolint:gosec // PostgreSQL is another user
		t.Fatal(err)
	}
	fill := strings.NewReplacer("DATA", data, "BINDIR", postgres[0])
	for name, text := range map[string]string{"postgres.sh": postgresScript, "client.sh": clientScript} {
		if err := os.WriteFile(filepath.Join(data, name), []byte(fill.Replace(text)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text := databases
	for _, engine := range []string{"go", "envoy"} {
		text += fmt.Sprintf(databaseClient, engine)
	}
	m := startText(t, text, options{engine: "go"}, "DATA", data, "MARIADBD", server)
	for _, engine := range []string{"go", "envoy"} {
		for _, db := range []string{"maria", "postgres"} {
			m.eventually(db+" answers "+engine, func() error {
				b, err := os.ReadFile(filepath.Join(data, db+"-"+engine))
				if err == nil && string(b) != "42\n" {
					err = fmt.Errorf("it says %q", b)
				}
				return err
			})
		}
	}
	m.eventually("metrics of mutual TLS", func() error {
		for line := range strings.Lines(m.admin("maria-0", "/stats/prometheus")) {
			if strings.HasPrefix(line, "istio_tcp_connections_opened_total") && strings.Contains(line, `connection_security_policy="mutual_tls"`) {
				return nil
			}
		}
		return fmt.Errorf("maria-0 has no istio_tcp_connections_opened_total with mutual TLS")
	})
}
