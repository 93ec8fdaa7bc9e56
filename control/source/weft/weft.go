// Package weft is the front end of Weft's own kinds (api/weft): Process, Registry (with
// Slime's RegistrySource, which is about the same), Transcoding, and the mark of a deleted object.
//
// Each conversion is a pure function from one document to model objects and
// Findings. Whether a program exists and can be reached is the supervisor's to
// find out.
package weft

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"

	api "github.com/weftmesh/weft/api/weft/v1alpha1"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/control/source/istio"
)

// FrontEnds returns the front ends of the group weft.dev.
func FrontEnds() []document.FrontEnd {
	s := shapes()
	return append(s.registries, []document.FrontEnd{
		{Kind: "Process", Group: api.Group, Versions: []string{api.Version}, Shape: s.process, Convert: convertProcess},
		{Kind: string(model.KindTranscoding), Group: api.Group, Versions: []string{api.Version}, Shape: s.transcoding, Convert: convertTranscoding},
		{Kind: "Deleted", Group: api.Group, Versions: []string{api.Version}, Shape: s.deleted, Convert: convertDeleted},
	}...)
}

type shapeSet struct {
	process, deleted, transcoding *document.Shape
	registries                    []document.FrontEnd
}

var rules = document.Rules{
	"ProcessSpec.replicas":      {Min: 0, Max: 100},
	"TranscodingSpec.port":      document.Port,
	"Port.containerPort":        document.Port,
	"GRPC.port":                 document.Port,
	"Probe.initialDelaySeconds": {Min: 0, Max: 3600},
	"Probe.periodSeconds":       {Min: 0, Max: 3600},
	"Probe.timeoutSeconds":      {Min: 0, Max: 3600},
	"Probe.successThreshold":    {Min: 0, Max: 1000},
	"Probe.failureThreshold":    {Min: 0, Max: 1000},
}

var shapes = sync.OnceValue(func() shapeSet {
	b := document.NewBuilder(rules)
	port := &document.Shape{Type: document.IntOrString, Min: 1, Max: 65535}
	transcoding := b.GoType(reflect.TypeFor[api.TranscodingSpec]())
	process := b.GoType(reflect.TypeFor[api.ProcessSpec]())
	// A probe's port is a number or a name, which Go's "any" does not say.
	for _, t := range []reflect.Type{reflect.TypeFor[api.HTTPGet](), reflect.TypeFor[api.TCPSocket]()} {
		s := b.GoType(t)
		for i := range s.Fields {
			if s.Fields[i].Name == "port" {
				s.Fields[i].Shape = port
			}
		}
	}
	if bad := rules.Unused(b.Used); bad != nil {
		panic("BUG: rules for fields that do not exist: " + bad[0])
	}
	return shapeSet{process: document.Spec(process), transcoding: document.Spec(transcoding), deleted: document.Spec(b.GoType(reflect.TypeFor[api.DeletedSpec]())), registries: registryFronts(b)}
})

// Tombstone is what a Deleted document stands for. Sources apply it; it never
// reaches a snapshot.
type Tombstone struct {
	model.Meta
	// Target is the object that is to be treated as absent.
	Target model.Key
}

func convertDeleted(d *document.Document) []model.Object {
	kind, _ := d.Spec()["objectKind"].(string)
	if kind == "" {
		d.Error(document.CodeMissing, "spec.objectKind", "name a kind, e.g. VirtualService", "is missing")
	}
	k := model.Key{Kind: model.Kind(kind), Namespace: d.Key.Namespace, Name: d.Key.Name}
	if k.Kind == model.KindNamespace {
		k.Namespace = ""
	}
	return []model.Object{&Tombstone{Meta: d.Meta, Target: k}}
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

func convertProcess(d *document.Document) []model.Object {
	spec, err := document.Into[api.ProcessSpec](d.Spec())
	if err != nil {
		d.Invalid("spec", "", "cannot be read: %v", err)
		return nil
	}
	d.Mix(d.Dir) // commands are relative to it
	p := &model.Process{
		Meta: d.Meta, Command: spec.Command, WorkingDir: spec.WorkingDir, Dir: d.Dir, Replicas: 1, ServiceAccount: "default",
	}
	if len(p.Command) == 0 {
		d.Error(document.CodeMissing, "spec.command", "write e.g. command: [go, run, ./reviews]", "is missing")
	} else if strings.TrimSpace(p.Command[0]) == "" {
		d.Invalid("spec.command[0]", "name a program", "is empty")
	}
	if len(p.Command) == 1 && strings.Contains(p.Command[0], " ") {
		words := strings.Join(strings.Fields(p.Command[0]), ", ")
		d.Invalid("spec.command[0]", "write command: ["+words+"]", "%q: the arguments are elements of their own", p.Command[0])
	}
	if len(d.Key.Name) > 59 || !document.IsLabel(d.Key.Name) {
		// A replica is called "<name>-<number>", and that is a DNS label.
		d.Invalid("metadata.name", "use at most 59 lower-case letters, digits and '-'", "%q is not a valid name of a Process", d.Key.Name)
	}
	if spec.Replicas != nil {
		p.Replicas = int(*spec.Replicas)
	}
	if a := spec.ServiceAccountName; a != "" {
		p.ServiceAccount = a
		if !document.IsSubdomain(a) {
			d.Invalid("spec.serviceAccountName", "use lower-case letters, digits and '-'", "%q is not a valid name", a)
		}
	}
	environment(d, p, spec.Env)
	ports(d, p, spec.Ports)
	p.Readiness = probe(d, "spec.readinessProbe", spec.ReadinessProbe, p.Ports)
	if spec.Sidecar != nil {
		p.Engine = spec.Sidecar.Engine
		engines := []string{"go", "envoy", "none"}
		if p.Engine != "" && !slices.Contains(engines, p.Engine) {
			d.Invalid("spec.sidecar.engine", document.Suggest(p.Engine, engines), "must be one of go, envoy, none, got %q", p.Engine)
		}
	}
	p.Proxy = istio.Annotated(d)
	if spec.Resources != nil {
		p.CPU, p.Memory = quantity(d, spec.Resources, "cpu"), quantity(d, spec.Resources, "memory")
	}
	return []model.Object{p}
}

func environment(d *document.Document, p *model.Process, env []api.EnvVar) {
	seen := map[string]bool{}
	for i, e := range env {
		at := document.At("spec.env", i)
		switch {
		case e.Name == "":
			d.Error(document.CodeMissing, at+".name", "name the variable", "is missing")
		case !envName.MatchString(e.Name):
			d.Invalid(at+".name", "use letters, digits and '_'", "%q is not a valid name of a variable", e.Name)
		case seen[e.Name]:
			d.Invalid(at+".name", "keep one", "%q is set twice", e.Name)
		case strings.ContainsRune(e.Value, 0):
			d.Invalid(at+".value", "", "holds a zero byte")
		}
		seen[e.Name] = true
		p.Env = append(p.Env, model.EnvVar{Name: e.Name, Value: e.Value})
	}
}

func ports(d *document.Document, p *model.Process, list []api.Port) {
	var protocols []string
	for i, port := range list {
		at := document.At("spec.ports", i)
		if port.ContainerPort == 0 {
			d.Error(document.CodeMissing, at+".containerPort", "write the port that the program listens on", "is missing")
			continue
		}
		if port.Protocol != "" && port.Protocol != "TCP" && port.Protocol != "UDP" {
			d.Invalid(at+".protocol", document.Suggest(port.Protocol, []string{"TCP", "UDP"}), "must be TCP or UDP, got %q", port.Protocol)
		}
		if port.Name != "" && !document.IsLabel(port.Name) {
			d.Invalid(at+".name", "use lower-case letters, digits and '-'", "%q is not a valid port name", port.Name)
		}
		for j, q := range p.Ports {
			if q.Name == port.Name && q.Name != "" {
				d.Invalid(at+".name", "give each port a name of its own", "%q is the name of ports[%d] too", q.Name, j)
			}
			if q.Port == uint16(port.ContainerPort) && protocols[j] == port.Protocol {
				d.Invalid(at+".containerPort", "remove one", "%d is the number of ports[%d] too", q.Port, j)
			}
		}
		if reserved(port.ContainerPort) {
			d.Invalid(at+".containerPort", "let the program listen elsewhere", "%d is a port of the sidecar", port.ContainerPort)
		}
		protocols = append(protocols, port.Protocol)
		p.Ports = append(p.Ports, model.ProcessPort{Name: port.Name, Port: uint16(port.ContainerPort)})
	}
}
