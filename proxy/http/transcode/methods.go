package transcode

import (
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// rule is one HTTP way to call a method.
type rule struct {
	path     *template
	vars     [][]protoreflect.FieldDescriptor // what the path's variables are of the request's message
	method   protoreflect.MethodDescriptor
	grpcPath string // "/package.Service/Method"
	body     string // the field that the body is, "*": the whole message, "": there is none
	bodyIn   protoreflect.FieldDescriptor
	answer   protoreflect.FieldDescriptor // what the response's body is of the message; nil: all of it
}

// methods are the rules of all services, by HTTP method.
type methods struct {
	rules map[string][]*rule
	verbs map[string]bool
	types *dynamicpb.Types
}

const httpBody = "google.api.HttpBody"

// compile reads the rules of services out of a FileDescriptorSet.
func compile(set []byte, services []string, autoMapping bool) (*methods, error) {
	list := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(set, list); err != nil {
		return nil, fmt.Errorf("proto_descriptor: no FileDescriptorSet: %w", err)
	}
	files, err := protodesc.NewFiles(list)
	if err != nil {
		return nil, fmt.Errorf("proto_descriptor: %w; make it with --include_imports", err)
	}
	m := &methods{rules: map[string][]*rule{}, verbs: map[string]bool{}, types: dynamicpb.NewTypes(files)}
	for _, name := range services {
		if err := m.service(files, name, autoMapping); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *methods) service(files *protoregistry.Files, name string, autoMapping bool) error {
	d, err := files.FindDescriptorByName(protoreflect.FullName(name))
	sd, ok := d.(protoreflect.ServiceDescriptor)
	if err != nil || !ok {
		return fmt.Errorf("services: proto_descriptor has no service %q", name)
	}
	for i := range sd.Methods().Len() {
		md := sd.Methods().Get(i)
		rules, _ := proto.GetExtension(md.Options(), annotations.E_Http).(*annotations.HttpRule)
		if rules == nil {
			if !autoMapping {
				continue
			}
			rules = &annotations.HttpRule{Pattern: &annotations.HttpRule_Post{Post: grpcPath(md)}, Body: one}
		}
		for _, r := range append([]*annotations.HttpRule{rules}, rules.AdditionalBindings...) {
			if err := m.add(md, r); err != nil {
				return fmt.Errorf("services: %s: %w", md.FullName(), err)
			}
		}
	}
	return nil
}

func grpcPath(md protoreflect.MethodDescriptor) string {
	return "/" + string(md.Parent().FullName()) + "/" + string(md.Name())
}

func (m *methods) add(md protoreflect.MethodDescriptor, h *annotations.HttpRule) error {
	verb, path := pattern(h)
	if verb == "" {
		return fmt.Errorf("the HTTP rule has no method and path")
	}
	t, err := parseTemplate(path)
	if err != nil {
		return err
	}
	r := &rule{path: t, method: md, grpcPath: grpcPath(md), body: h.Body}
	for _, v := range t.vars {
		f, err := fieldPath(md.Input(), v.field)
		if err != nil {
			return fmt.Errorf("path %q: %w", path, err)
		}
		r.vars = append(r.vars, f)
	}
	if h.Body != "" && h.Body != one {
		if r.bodyIn = md.Input().Fields().ByName(protoreflect.Name(h.Body)); r.bodyIn == nil {
			return fmt.Errorf("body: %s has no field %q", md.Input().FullName(), h.Body)
		}
	}
	if h.ResponseBody != "" {
		if r.answer = md.Output().Fields().ByName(protoreflect.Name(h.ResponseBody)); r.answer == nil {
			return fmt.Errorf("response_body: %s has no field %q", md.Output().FullName(), h.ResponseBody)
		}
	}
	if t.verb != "" {
		m.verbs[t.verb] = true
	}
	m.rules[verb] = append(m.rules[verb], r)
	return nil
}

func pattern(h *annotations.HttpRule) (verb, path string) {
	switch p := h.Pattern.(type) {
	case *annotations.HttpRule_Get:
		return "GET", p.Get
	case *annotations.HttpRule_Put:
		return "PUT", p.Put
	case *annotations.HttpRule_Post:
		return "POST", p.Post
	case *annotations.HttpRule_Delete:
		return "DELETE", p.Delete
	case *annotations.HttpRule_Patch:
		return "PATCH", p.Patch
	case *annotations.HttpRule_Custom:
		return p.Custom.GetKind(), p.Custom.GetPath()
	}
	return "", ""
}

// find is the rule for a request, and its path's segments. anyVerb: what follows the last
// colon is a verb, whether a rule has it or not.
func (m *methods) find(method, path string, anyVerb bool) (*rule, []string) {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return nil, nil
	}
	verb := ""
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') && (anyVerb || m.verbs[rest[i+1:]]) {
		rest, verb = rest[:i], rest[i+1:]
	}
	segments := strings.Split(rest, "/")
	var best *rule
	for _, r := range m.rules[method] {
		if r.path.match(segments, verb) && (best == nil || r.path.before(best.path)) {
			best = r
		}
	}
	return best, segments
}
