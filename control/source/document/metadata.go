package document

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DefaultNamespace is where objects live that name none.
const DefaultNamespace = "default"

var metadataShape = sync.OnceValue(func() *Shape {
	return NewBuilder(nil).GoType(reflect.TypeFor[metav1.ObjectMeta]())
})

var (
	dnsLabel     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	dnsSubdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
)

// IsLabel tells whether s is a DNS label: what namespaces, services and ports are called.
func IsLabel(s string) bool { return dnsLabel.MatchString(s) }

// IsSubdomain tells whether s is a DNS name in lower case.
func IsSubdomain(s string) bool { return len(s) <= 253 && dnsSubdomain.MatchString(s) }

const nameRemedy = "use lower-case letters, digits and '-', beginning and ending with a letter or digit"

// metadata fills Meta from the checked body.
func (d *Document) metadata() {
	m, _ := d.Body["metadata"].(map[string]any)
	if _, ok := m["generateName"]; ok {
		d.Unsupported("metadata.generateName", "give it a name", "names are not generated from files")
	}
	switch {
	case d.Key.Name == "" && !d.bad:
		d.Error(CodeMissing, "metadata.name", "give the object a name", "is missing")
	case d.Key.Name != "" && !IsSubdomain(d.Key.Name):
		d.Invalid("metadata.name", nameRemedy, "%q is not a valid name", d.Key.Name)
	}
	if d.Key.Namespace != "" && !IsLabel(d.Key.Namespace) {
		d.Invalid("metadata.namespace", nameRemedy, "%q is not a valid namespace", d.Key.Namespace)
	}
	d.Labels, d.Annotations = stringMap(m["labels"]), stringMap(m["annotations"])
	d.CheckLabels("metadata.labels", d.Labels)
	if s, ok := m["creationTimestamp"].(string); ok {
		if t, err := time.Parse(time.RFC3339, s); err == nil {
			d.Created = t.UnixNano()
		}
	}
	d.Generation = generation(m["generation"])
	d.Hash = d.hash()
}

// generation reads a number that a reader of YAML or of JSON has made.
func generation(v any) int64 {
	switch n := v.(type) {
	case int64:
		return n
	case float64:
		return int64(n)
	}
	return 0
}

// CheckLabels reports keys and values that cannot be labels.
func (d *Document) CheckLabels(field string, labels map[string]string) {
	for k, v := range labels {
		if !labelKey(k) {
			d.Invalid(Join(field, k), "", "%q is not a valid label key", k)
		}
		if !labelValue(v) {
			d.Invalid(Join(field, k), "use at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit", "%q is not a valid label value", v)
		}
	}
}

// labelKey and labelValue are written out: endpoints have many labels, and expressions
// were a thirtieth of what a change costs.
func labelKey(s string) bool {
	if prefix, name, ok := strings.Cut(s, "/"); ok {
		if prefix == "" || strings.TrimLeft(prefix, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" {
			return false
		}
		s = name
	}
	return s != "" && labelValue(s)
}

func labelValue(s string) bool {
	if s == "" {
		return true
	}
	if len(s) > 63 || !alphanumeric(s[0]) || !alphanumeric(s[len(s)-1]) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !alphanumeric(c) && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// hash covers everything that can make a difference, and nothing of where the
// object stands.
func (d *Document) hash() uint64 {
	h := xxhash.New()
	part := func(v any) {
		raw, err := json.Marshal(v)
		if err != nil {
			panic("BUG: a checked document cannot be written as JSON: " + err.Error())
		}
		h.Write(raw) //nolint:errcheck // never fails
	}
	part([]any{d.Key.Kind, d.Key.Namespace, d.Key.Name, d.Labels, d.Annotations, d.Created})
	if d.Generation != 0 {
		part(d.Generation) // it is in the status that is written of it
	}
	rest := make(map[string]any, len(d.Body))
	for k, v := range d.Body {
		if k != "metadata" && k != "apiVersion" {
			rest[k] = v
		}
	}
	part(rest)
	return h.Sum64()
}

// Mix adds to the hash what makes a difference besides the document's text.
func (d *Document) Mix(s string) { d.Hash = Mix(d.Hash, s) }

// Mix returns the hash of an object that is made from another one and s.
func Mix(hash uint64, s string) uint64 {
	return hash ^ xxhash.Sum64String(s)*0x9e3779b97f4a7c15
}

func stringMap(v any) map[string]string {
	m, ok := v.(map[string]any)
	if !ok || len(m) == 0 {
		return nil
	}
	out := make(map[string]string, len(m))
	for k, e := range m {
		out[k], _ = e.(string)
	}
	return out
}

// group splits an API version into group and version; the core group is "".
func group(apiVersion string) (g, v string) {
	if i := strings.LastIndexByte(apiVersion, '/'); i >= 0 {
		return apiVersion[:i], apiVersion[i+1:]
	}
	return "", apiVersion
}
