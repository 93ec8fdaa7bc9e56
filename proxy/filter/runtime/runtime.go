// Package runtime holds the values that change behaviour while the proxy runs:
// the layers of a bootstrap's layered_runtime. Who depends on a value asks for
// its Key once, when configuration arrives, and reads it with one atomic load.
//
// Later layers override earlier ones, and what the admin API sets overrides all
// layers before the admin layer. Layers of files are read anew when their link is
// moved; what comes from a control plane is brought by others (SetResource).
package runtime

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Value is a value as it was written, and what it can be read as.
type Value struct {
	// Text is how the value is shown.
	Text string
	// Fraction is set for {numerator, denominator}.
	Numerator, Denominator uint32
	// Integer is valid when IsInteger; Double when IsDouble.
	Integer             uint64
	Double              float64
	IsInteger, IsDouble bool
	// Bool is valid when IsBool: of booleans, and of numbers, of which 0 is false. The
	// text "true" is no boolean, as in Envoy.
	Bool, IsBool bool
}

// Key is the present value of one name; nil inside: not set. A nil *Key is never set.
type Key struct{ v atomic.Pointer[Value] }

// Load returns the value, nil when there is none.
func (k *Key) Load() *Value {
	if k == nil {
		return nil
	}
	return k.v.Load()
}

// Integer returns the value as an integer, or def.
func (k *Key) Integer(def uint64) uint64 {
	if v := k.Load(); v != nil && v.IsInteger {
		return v.Integer
	}
	return def
}

// Double returns the value as a number, or def.
func (k *Key) Double(def float64) float64 {
	if v := k.Load(); v != nil && v.IsDouble {
		return v.Double
	}
	return def
}

// Layer is one layer of values.
type Layer struct {
	Name string
	// Admin: the layer that the admin API changes.
	Admin bool
	// Resource names the resource that brings the values (RTDS); "": none does.
	Resource string
	values   map[string]Value
	disk     *Disk
	absent   bool // its folder is not there
}

// NewDiskLayer makes a layer of files and reads it.
func NewDiskLayer(name string, d Disk) (Layer, error) {
	values, err := d.read()
	return Layer{Name: name, values: values, disk: &d, absent: values == nil}, err
}

// NewLayer makes a layer of a static object: nested names are joined by dots.
func NewLayer(name string, object map[string]any) (Layer, error) {
	l := Layer{Name: name, values: map[string]Value{}}
	return l, l.add("", object)
}

func (l *Layer) add(prefix string, object map[string]any) error {
	for name, v := range object {
		full := name
		if prefix != "" {
			full = prefix + "." + name
		}
		if m, ok := v.(map[string]any); ok {
			if _, fraction := m["numerator"]; !fraction {
				if err := l.add(full, m); err != nil {
					return err
				}
				continue
			}
		}
		val, err := valueOf(v)
		if err != nil {
			return fmt.Errorf("%s: %w", full, err)
		}
		l.values[full] = val
	}
	return nil
}

func valueOf(v any) (Value, error) {
	switch v := v.(type) {
	case string:
		return Parse(v), nil
	case bool:
		return Value{Text: strconv.FormatBool(v), Bool: v, IsBool: true}, nil
	case float64:
		return Parse(strconv.FormatFloat(v, 'g', -1, 64)), nil
	case map[string]any:
		return fractionOf(v)
	}
	return Value{}, fmt.Errorf("%T is not supported: want a number, a string, a boolean or {numerator, denominator}", v)
}

func fractionOf(m map[string]any) (Value, error) {
	n, ok := m["numerator"].(float64)
	if !ok || n < 0 || n > math.MaxUint32 || n != math.Trunc(n) {
		return Value{}, fmt.Errorf("numerator: %v is not a number", m["numerator"])
	}
	name, _ := m["denominator"].(string)
	d, ok := map[string]uint32{"": 100, "HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}[name]
	if !ok {
		return Value{}, fmt.Errorf("denominator: %v is not one of HUNDRED, TEN_THOUSAND and MILLION", m["denominator"])
	}
	return Value{Text: fmt.Sprintf(`{"numerator":%v,"denominator":%q}`, n, name), Numerator: uint32(n), Denominator: d}, nil
}

// Parse reads a value of text, as the admin API gets it.
func Parse(s string) Value {
	v := Value{Text: s}
	s = strings.TrimSpace(s)
	if n, err := strconv.ParseFloat(s, 64); err == nil && !math.IsNaN(n) && !math.IsInf(n, 0) {
		v.Double, v.IsDouble = n, true
		if n >= 0 && n == math.Trunc(n) && n < 1<<63 {
			v.Integer, v.IsInteger = uint64(n), true
			v.Bool, v.IsBool = n != 0, true
		}
	}
	return v
}

// Store is all layers. It is safe for concurrent use; a nil *Store has no values.
type Store struct {
	mu     sync.Mutex
	layers []Layer
	keys   map[string]*Key
	stats  Stats // guarded by mu; what is counted
	// watchers are told of changes.
	watchers []func()
}

// New makes a Store of layers, the weakest first.
func New(layers ...Layer) *Store {
	return &Store{layers: layers, keys: map[string]*Key{}, stats: Stats{Loads: 1}}
}

// Key returns the cell of a name, nil for "" and of a nil Store.
func (s *Store) Key(name string) *Key {
	if s == nil || name == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keys[name]
	if k == nil {
		k = &Key{}
		s.keys[name] = k
		k.v.Store(s.find(name))
	}
	return k
}

// find returns the strongest layer's value.
func (s *Store) find(name string) *Value {
	for _, l := range slices.Backward(s.layers) {
		if v, ok := l.values[name]; ok {
			return &v
		}
	}
	return nil
}

// Modify sets values in the admin layer; an empty one takes it off.
func (s *Store) Modify(values map[string]string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.layers, func(l Layer) bool { return l.Admin })
	if i < 0 {
		return fmt.Errorf("no admin layer specified: add an admin_layer to the bootstrap's layered_runtime")
	}
	admin := maps.Clone(s.layers[i].values)
	if admin == nil {
		admin = map[string]Value{}
	}
	for name, text := range values {
		if text == "" {
			delete(admin, name)
		} else {
			admin[name] = Parse(text)
		}
	}
	s.layers[i].values = admin
	s.refreshLocked()
	return nil
}

// refreshLocked makes all keys what the layers say.
func (s *Store) refreshLocked() {
	s.stats.Loads++
	for name, k := range s.keys {
		k.v.Store(s.find(name))
	}
	for _, f := range s.watchers {
		f()
	}
}

// Watch has f called after each change, on the goroutine that makes it: f must not
// block, nor ask the Store. For those who would need more names than are worth a Key each.
func (s *Store) Watch(f func()) {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.watchers = append(s.watchers, f)
	s.mu.Unlock()
}

// Under returns the values whose names begin with a prefix, by the rest of their
// names; nil: there are none.
func (s *Store) Under(prefix string) map[string]*Value {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out map[string]*Value
	for _, l := range s.layers {
		for name, v := range l.values {
			rest, ok := strings.CutPrefix(name, prefix)
			if !ok {
				continue
			}
			if out == nil {
				out = map[string]*Value{}
			}
			out[rest] = &v // a later layer overrides
		}
	}
	return out
}

// Resources are the names of the resources that bring values.
func (s *Store) Resources() (names []string) {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.layers {
		if l.Resource != "" && !slices.Contains(names, l.Resource) {
			names = append(names, l.Resource)
		}
	}
	return names
}

// SetResource replaces the values of the layers that a resource brings.
func (s *Store) SetResource(resource string, object map[string]any) error {
	n, err := NewLayer("", object)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.stats.Errors++
		return err
	}
	for i := range s.layers {
		if s.layers[i].Resource == resource {
			s.layers[i].values = n.values
		}
	}
	s.refreshLocked()
	return nil
}

// Entry is a name and its values by layer, for the admin API.
type Entry struct {
	Name, Final string
	Layers      []string
}

// Entries lists all values by name, and the names of the layers.
func (s *Store) Entries() (layers []string, entries []Entry) {
	if s == nil {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	names := map[string]bool{}
	for _, l := range s.layers {
		if l.absent {
			continue
		}
		layers = append(layers, l.Name)
		for n := range l.values {
			names[n] = true
		}
	}
	for _, n := range slices.Sorted(maps.Keys(names)) {
		e := Entry{Name: n, Final: s.find(n).Text}
		for _, l := range s.layers {
			if l.absent {
				continue
			}
			e.Layers = append(e.Layers, l.values[n].Text)
		}
		entries = append(entries, e)
	}
	return layers, entries
}
