package mesh

import "strings"

// twoVersions is a service with the subsets v1 and v2, each a Process of a program that is
// called with "serve" and the version.
func twoVersions(name, program, portName, port string) string {
	return strings.NewReplacer("NAME", name, "PROGRAM", program, "PORTNAME", portName, "PORT", port).Replace(`apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: default}
spec: {selector: {app: NAME}, ports: [{name: PORTNAME, port: PORT}]}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: NAME-v1, namespace: default, labels: {app: NAME, version: v1}}
spec: {command: [BIN/PROGRAM, serve, v1], ports: [{containerPort: PORT}], readinessProbe: {timeoutSeconds: 60, tcpSocket: {port: PORT}}}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: NAME-v2, namespace: default, labels: {app: NAME, version: v2}}
spec: {command: [BIN/PROGRAM, serve, v2], ports: [{containerPort: PORT}], readinessProbe: {timeoutSeconds: 60, tcpSocket: {port: PORT}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: NAME, namespace: default}
spec:
  host: NAME
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
`)
}

// pageOf is the service "page", a Process of a program with an argument, and the gateway's route to it.
func pageOf(program, argument string) string {
	return strings.NewReplacer("PROGRAM", program, "ARGUMENT", argument).Replace(pageService + `apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: page, namespace: default, labels: {app: page}}
spec: {command: [BIN/PROGRAM, ARGUMENT], ports: [{containerPort: 9080}], readinessProbe: {timeoutSeconds: 60, httpGet: {path: /, port: 9080}}}
---
` + publicGateway + `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: in, namespace: default}
spec: {hosts: ["*"], gateways: [in], http: [{route: [{destination: {host: page}}]}]}
---
`)
}

const (
	pageService = `apiVersion: v1
kind: Service
metadata: {name: page, namespace: default}
spec: {selector: {app: page}, ports: [{name: http, port: 9080}]}
---
`
	publicGateway = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: in, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: INGRESS, name: http, protocol: HTTP}, hosts: ["*"]}]
---
`
	strictTLS = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: STRICT}}
---
`
)
