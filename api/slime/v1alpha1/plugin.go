package v1alpha1

// PluginManagerSpec puts filters into the chains of workloads.
type PluginManagerSpec struct {
	WorkloadLabels      map[string]string `json:"workload_labels,omitempty"`
	WorkloadLabelsCamel map[string]string `json:"workloadLabels,omitempty"`
	// Plugin is the ordered chain; Plugins is the same, as some of Slime's examples write it.
	Plugin  []Plugin `json:"plugin,omitempty"`
	Plugins []Plugin `json:"plugins,omitempty"`
	// Gateways have no effect in Slime.
	Gateways []string `json:"gateways,omitempty"`
	// Priority orders what several objects do: lower first.
	Priority int32 `json:"priority,omitempty"`
}

// EnvoyPluginSpec configures filters of routes, virtual hosts and ports.
type EnvoyPluginSpec struct {
	WorkloadSelector      *Labels `json:"workload_selector,omitempty"`
	WorkloadSelectorCamel *Labels `json:"workloadSelector,omitempty"`
	// Route are "virtual host/route", or names of routes; Host virtual hosts.
	Route    []string   `json:"route,omitempty"`
	Host     []string   `json:"host,omitempty"`
	Listener []Listener `json:"listener,omitempty"`
	Plugins  []Plugin   `json:"plugins,omitempty"`
	Plugin   []Plugin   `json:"plugin,omitempty"`
	Priority int32      `json:"priority,omitempty"`
	// Those have no effect in Slime.
	Service        []string `json:"service,omitempty"`
	User           []string `json:"user,omitempty"`
	Gateway        []string `json:"gateway,omitempty"`
	IsGroupSetting bool     `json:"isGroupSetting,omitempty"`
}

// Labels pick workloads.
type Labels struct {
	Labels map[string]string `json:"labels,omitempty"`
}

// Listener is a port: of sidecars' way out (Outbound) or in, or of a gateway.
type Listener struct {
	Port     uint16   `json:"port,omitempty"`
	Outbound bool     `json:"outbound,omitempty"`
	Sidecar  bool     `json:"sidecar,omitempty"`
	PortName string   `json:"portName,omitempty"`
	Bind     string   `json:"bind,omitempty"`
	Hosts    []string `json:"hosts,omitempty"`
}

// Plugin is one filter. Fields of two spellings are the same.
type Plugin struct {
	Enable bool   `json:"enable,omitempty"`
	Name   string `json:"name,omitempty"`
	// ListenerType is 0 or Outbound, 1 or Inbound, 2 or Gateway.
	ListenerType      any    `json:"listenerType,omitempty"`
	ListenerTypeSnake any    `json:"listener_type,omitempty"`
	TypeURL           string `json:"type_url,omitempty"`
	TypeURLCamel      string `json:"typeUrl,omitempty"`
	Port              uint16 `json:"port,omitempty"`
	// Settings is an older place of Inline's.
	Settings map[string]any `json:"settings,omitempty"`
	Inline   *Inline        `json:"inline,omitempty"`
	Wasm     *Wasm          `json:"wasm,omitempty"`
	Rider    *Wasm          `json:"rider,omitempty"`
	// Protocol is 0 or HTTP, 1 or Dubbo, 2 or Generic.
	Protocol                  any    `json:"protocol,omitempty"`
	GenericAppProtocol        string `json:"genericAppProtocol,omitempty"`
	GenericAppProtocolSnake   string `json:"generic_app_protocol,omitempty"`
	RawPatch                  any    `json:"rawPatch,omitempty"`
	RawPatchSnake             any    `json:"raw_patch,omitempty"`
	DisableOnFilterLevel      bool   `json:"disable_on_filter_level,omitempty"`
	DisableOnFilterLevelCamel bool   `json:"disableOnFilterLevel,omitempty"`
}

// Inline is a filter that the engine has.
type Inline struct {
	Settings map[string]any `json:"settings,omitempty"`
	// DirectPatch merges the settings at FieldPatchTo ("", "ROOT": the whole) instead.
	DirectPatch       bool   `json:"directPatch,omitempty"`
	DirectPatchSnake  bool   `json:"direct_patch,omitempty"`
	FieldPatchTo      string `json:"fieldPatchTo,omitempty"`
	FieldPatchToSnake string `json:"field_patch_to,omitempty"`
}

// Wasm is a module that is fetched.
type Wasm struct {
	Settings                    map[string]any `json:"settings,omitempty"`
	PluginName                  string         `json:"pluginName,omitempty"`
	PluginNameSnake             string         `json:"plugin_name,omitempty"`
	URL                         string         `json:"url,omitempty"`
	SHA256                      string         `json:"sha256,omitempty"`
	ImagePullSecretName         string         `json:"imagePullSecretName,omitempty"`
	ImagePullSecretNameSnake    string         `json:"image_pull_secret_name,omitempty"`
	ImagePullSecretContent      string         `json:"imagePullSecretContent,omitempty"`
	ImagePullSecretContentSnake string         `json:"image_pull_secret_content,omitempty"`
}
