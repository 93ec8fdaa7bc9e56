package aeraki

import (
	"embed"
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	api "github.com/weftmesh/weft/api/aeraki/v1alpha1"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/control/source/plugin"
	"github.com/weftmesh/weft/wire"
	"github.com/weftmesh/weft/wire/protocol"
)

// codecOf begins the names of Aeraki's codecs.
const codecOf = "aeraki.meta_protocol.codec."

// ofBinary is the codec of a protocol that the data plane was built with.
const ofBinary = "binary"

//go:embed protocols/*.yaml
var shipped embed.FS

// known are the codecs of Aeraki's that are declarations here.
var known = []string{"brpc", "trpc"}

var label = regexp.MustCompile(`^[a-z][a-z0-9]*$`)

func convertProtocol(d *document.Document) []model.Object {
	spec, err := document.Into[api.ApplicationProtocolSpec](d.Spec())
	if err != nil {
		d.Invalid("spec", "", "cannot be read: %v", err)
		return nil
	}
	out := &model.AppProtocol{Meta: d.Meta, Protocol: strings.ToLower(spec.Protocol)}
	switch {
	case out.Protocol == "":
		d.Error(document.CodeMissing, "spec.protocol", "name the protocol", "is missing")
	case !label.MatchString(out.Protocol):
		// A port is called "tcp-metaprotocol-NAME-more".
		d.Invalid("spec.protocol", "use lower-case letters and digits", "%q is not a name that ports can have", spec.Protocol)
	case !slices.Contains(wire.MessageProtocols, out.Protocol):
		if _, ok := document.Protocol(out.Protocol); ok {
			d.Invalid("spec.protocol", "choose another name", "%q is a protocol that ports have already", spec.Protocol)
		}
	}
	declared := !reflect.DeepEqual(spec.Declaration, protocol.Declaration{})
	switch {
	case spec.Module != nil && (spec.Codec != "" || declared):
		d.Invalid("spec.module", "remove it, or the rest", "stands beside a codec or a declaration")
	case spec.Codec != "" && declared:
		d.Invalid("spec.codec", "remove it, or the declaration", "names a codec, and the spec declares the protocol too")
	case spec.Module != nil:
		out.Module = moduleOf(d, spec.Module)
		if slices.Contains(wire.MessageProtocols, out.Protocol) {
			d.Invalid("spec.protocol", "choose another name", "%q has a codec of its own", spec.Protocol)
		}
	case spec.Codec != "":
		codec(d, out, spec.Codec)
	case !declared && !slices.Contains(wire.MessageProtocols, out.Protocol):
		d.Error(document.CodeMissing, "spec.framing", "say where messages end, or name a codec", "is missing")
	case !declared:
		out.Codec = out.Protocol
	case slices.Contains(wire.MessageProtocols, out.Protocol):
		d.Invalid("spec.protocol", "choose another name, or remove the declaration", "%q has a codec of its own", spec.Protocol)
	default:
		out.Declared = &spec.Declaration
		for _, f := range spec.Check() {
			d.Invalid("spec."+f.Field, f.Remedy, "%s", f.Message)
		}
	}
	return []model.Object{out}
}

// moduleOf reads where a module is. The object has no namespace, so that its Secret names one.
func moduleOf(d *document.Document, m *api.ProtocolModule) *model.ModuleRef {
	ref := plugin.Module(d, "spec.module.url", m.URL, m.SHA256, "")
	if m.ImagePullSecret != "" {
		ns, name, ok := strings.Cut(m.ImagePullSecret, "/")
		if !ok || !document.IsLabel(ns) || !document.IsSubdomain(name) {
			d.Invalid("spec.module.imagePullSecret", `write "namespace/name"`, "%q names no Secret", m.ImagePullSecret)
		}
		ref.Secret = m.ImagePullSecret
	}
	switch m.ImagePullPolicy {
	case "", "IfNotPresent":
	case "Always":
		ref.Again = true
	default:
		d.Invalid("spec.module.imagePullPolicy", "write IfNotPresent or Always", "%q is no policy", m.ImagePullPolicy)
	}
	return &ref
}

// codec finds what speaks a protocol by the name of its codec.
func codec(d *document.Document, out *model.AppProtocol, name string) {
	short, ours := strings.CutPrefix(name, codecOf)
	switch {
	case name == ofBinary:
		out.Codec = out.Protocol
	case ours && slices.Contains(wire.MessageProtocols, short):
		out.Codec = short
	case ours && slices.Contains(known, short):
		out.Declared = declaration(short)
	default:
		var names []string
		for _, n := range slices.Concat(wire.MessageProtocols, known) {
			names = append(names, codecOf+n)
		}
		remedy := document.Suggest(name, names)
		if remedy == "" {
			remedy = "declare the protocol: framing, type, id and fields, instead of a codec"
		}
		d.Unsupported("spec.codec", remedy, "there is no codec %q", name)
	}
}

// declaration is one that comes with Weft.
func declaration(name string) *protocol.Declaration {
	raw, err := shipped.ReadFile("protocols/" + name + ".yaml")
	if err == nil {
		raw, err = yaml.YAMLToJSON(raw)
	}
	var doc struct {
		Spec api.ApplicationProtocolSpec `json:"spec"`
	}
	if err == nil {
		err = json.Unmarshal(raw, &doc)
	}
	if err != nil {
		panic("BUG: " + name + ": " + err.Error())
	}
	return &doc.Spec.Declaration
}
