// Package plugin makes the patches that plug-ins are, for the front ends of their kinds: a filter that proxies are
// told of by name, and its configuration, which control/translate completes with the module that control/source/module
// has fetched.
package plugin

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strings"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// Type URLs of filters' configurations.
const (
	WasmType = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"
	RBACType = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
	LuaType  = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
)

// Router is the filter at the end of every chain.
const Router = "envoy.filters.http.router"

// Wasm is a plug-in that is a WebAssembly module.
type Wasm struct {
	// Name of the filter, unique in a proxy; RootID is which of the module's plug-ins it is.
	Name, RootID string
	Module       model.ModuleRef
	// Config is what the plug-in gets, as text.
	Config string
	// Env are variables; HostEnv those of the proxy's own that it may see.
	Env     map[string]string
	HostEnv []string
	// FailOpen: requests go on without it where it fails. Reload: it is started again.
	FailOpen, Reload bool
}

// Filter is the entry in a chain of filters.
func (w *Wasm) Filter() string {
	return text(map[string]any{
		"name": w.Name,
		"config_discovery": map[string]any{
			"config_source": map[string]any{"ads": map[string]any{}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"},
			"type_urls":     []string{WasmType, RBACType},
		},
	})
}

// Extension is its configuration.
func (w *Wasm) Extension() string {
	policy := "FAIL_CLOSED"
	switch {
	case w.FailOpen:
		policy = "FAIL_OPEN"
	case w.Reload:
		policy = "FAIL_RELOAD"
	}
	sum := w.Module.SHA256
	if sum == "" {
		sum = "nil" // Envoy wants something there; it is replaced with the module
	}
	vm := map[string]any{
		"runtime": "envoy.wasm.runtime.v8",
		"code": map[string]any{"remote": map[string]any{
			"http_uri": map[string]any{"uri": w.Module.URL, "cluster": "_", "timeout": "30s"}, "sha256": sum,
		}},
	}
	if len(w.Env) > 0 || len(w.HostEnv) > 0 {
		vm["environment_variables"] = map[string]any{"key_values": w.Env, "host_env_keys": w.HostEnv}
	}
	config := map[string]any{"name": w.Name, "root_id": w.RootID, "failure_policy": policy, "vm_config": vm}
	if w.Config != "" {
		config["configuration"] = map[string]any{"@type": "type.googleapis.com/google.protobuf.StringValue", "value": w.Config}
	}
	return text(map[string]any{"name": w.Name, "typed_config": map[string]any{"@type": WasmType, "config": config}})
}

// Lua is the entry of a script in a chain of filters.
func Lua(name, code string) string {
	return text(map[string]any{"name": name, "typed_config": map[string]any{"@type": LuaType, "default_source_code": map[string]any{"inline_string": code}}})
}

func text(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic("BUG: plugin: " + err.Error())
	}
	return string(raw)
}

var hexSum = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)

// Module reads where a module is: an image of a registry when the URL has no scheme.
func Module(d *document.Document, at, address, sum, secret string) model.ModuleRef {
	ref := model.ModuleRef{URL: address, SHA256: strings.ToLower(sum), Field: at}
	if address == "" {
		d.Error(document.CodeMissing, at, "write where the module is, e.g. oci://registry.example.com/plugin:v1", "is missing")
		return ref
	}
	if !strings.Contains(address, "://") {
		ref.URL = "oci://" + address
	}
	u, err := url.Parse(ref.URL)
	switch {
	case err != nil:
		d.Invalid(at, "", "%q is no URL", address)
	case u.Scheme == "file" && u.Path == "", u.Scheme != "file" && u.Host == "":
		d.Invalid(at, "", "%q says neither where nor what", address)
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "oci" && u.Scheme != "file":
		d.Invalid(at, "write oci://, http://, https:// or file://", "%q has a scheme of which nothing can be fetched", address)
	}
	if sum != "" && !hexSum.MatchString(sum) {
		d.Invalid(model.Parent(at)+".sha256", "write 64 hexadecimal digits", "%q is no SHA-256", sum)
	}
	if secret != "" {
		ref.Secret = d.Key.Namespace + "/" + secret
	}
	return ref
}

// In is a patch that puts an HTTP filter into a chain. before are names of filters; none: before the router.
func In(context model.PatchContext, port uint32, before []string, value string) model.EnvoyPatch {
	p := model.EnvoyPatch{ApplyTo: model.ToHTTPFilter, Operation: model.PatchInsertBefore, Context: context, Before: append(before[:len(before):len(before)], Router), Value: value}
	if port != 0 {
		p.Listener = &model.ListenerMatch{Port: port}
	}
	return p
}

// Config is the patch that has proxies know a filter's configuration.
func Config(value string) model.EnvoyPatch {
	return model.EnvoyPatch{ApplyTo: model.ToExtension, Operation: model.PatchAdd, Context: model.AnyContext, Value: value}
}
