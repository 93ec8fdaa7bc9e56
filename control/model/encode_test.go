package model

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// fill sets everything that can be set, pointers to zero values among it.
func fill(r *rand.Rand, v reflect.Value, depth int) {
	switch v.Interface().(type) {
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(256))}), 32)))
		return
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(256))})))
		return
	case Lines:
		l := Lines{}
		l.Set("spec.http[0]", r.IntN(1000))
		l.Set("spec", 2)
		v.Set(reflect.ValueOf(l.Pack()))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int, reflect.Int64:
		v.SetInt(r.Int64())
	case reflect.Uint8:
		v.SetUint(uint64(r.IntN(3)))
	case reflect.Uint16:
		v.SetUint(uint64(r.IntN(1 << 16)))
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(r.Uint32()))
	case reflect.Int32:
		v.SetInt(int64(r.Int32()))
	case reflect.Float64:
		v.SetFloat(r.Float64())
	case reflect.String:
		v.SetString(string(rune('a'+r.IntN(26))) + "é\n\"")
	case reflect.Pointer:
		if depth > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			if r.IntN(4) > 0 {
				fill(r, v.Elem(), depth-1)
			}
		}
	case reflect.Slice:
		if n := r.IntN(3); depth > 0 && n < 2 {
			v.Set(reflect.MakeSlice(v.Type(), n, n)) // empty is not nil
		}
		for i := range v.Len() {
			fill(r, v.Index(i), depth-1)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(r, v.Index(i), depth-1)
		}
	case reflect.Map:
		if depth <= 0 {
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(r, k, depth-1)
		fill(r, e, depth-1)
		v.SetMapIndex(k, e)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(r, v.Field(i), depth-1)
		}
	default:
		panic("what is a " + v.Type().String() + "?")
	}
}

// unwritten takes away what is never written: the passwords of objects.
func unwritten(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			unwritten(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("json") == "-" {
				v.Field(i).SetZero()
			} else {
				unwritten(v.Field(i))
			}
		}
	}
}

// TestObjectsAsJSON: whatever an object holds, what is read is what was written, but
// for private keys.
func TestObjectsAsJSON(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var list Objects
	for _, typ := range prototypes {
		for range 40 {
			v := reflect.New(typ)
			fill(r, v.Elem(), 8)
			list = append(list, v.Interface().(Object))
		}
	}
	raw, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range list {
		unwritten(reflect.ValueOf(o).Elem())
		if s, ok := o.(*Secret); ok {
			for _, b := range []*PrivateBytes{&s.Cert, &s.PrivateKey, &s.CA, &s.CRL, &s.Docker} {
				if len(*b) == 0 {
					*b = nil
				}
			}
			for name, v := range s.Values {
				if len(v) == 0 {
					s.Values[name] = nil
				}
			}
			list[i] = s.Sealed()
		}
	}
	var got Objects
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	for i := range list {
		// A declaration leaves out what is empty, and so do lists of what is rare.
		empty := cmp.FilterPath(func(p cmp.Path) bool {
			at := p.GoString()
			return strings.Contains(at, ".Declared") || strings.HasSuffix(at, ".Joined") || strings.HasSuffix(at, ".Values")
		}, cmpopts.EquateEmpty())
		// Text that is secret prints as nothing else than that.
		if diff := cmp.Diff(list[i], got[i], cmp.Exporter(func(reflect.Type) bool { return true }), cmp.Transformer("content", func(p PrivateBytes) string { return string(p) + "." }), empty); diff != "" {
			t.Fatalf("%T (-written +read):\n%s", list[i], diff)
		}
	}
}

// TestAllObjectsAreWritten: each kind of object that a snapshot has.
func TestAllObjectsAreWritten(t *testing.T) {
	look := func(of reflect.Type) {
		for f := range of.Fields() {
			if f.Type.Kind() == reflect.Slice && f.Type.Elem().Implements(reflect.TypeFor[Object]()) && prototypes[f.Type.Elem().Elem().Name()] == nil {
				t.Errorf("%s.%s: the type is not among the prototypes", of.Name(), f.Name)
			}
		}
	}
	look(reflect.TypeFor[Snapshot]())
	look(reflect.TypeFor[GatewayAPI]())
}

func TestPrivateKeysAreSealed(t *testing.T) {
	a, b := &Secret{PrivateKey: PrivateBytes("one")}, &Secret{PrivateKey: PrivateBytes("two")}
	x, y := a.Sealed(), b.Sealed()
	if string(x.PrivateKey) == string(y.PrivateKey) || string(x.PrivateKey) != string(a.Sealed().PrivateKey) || x.Sealed() != x || string(a.PrivateKey) != "one" {
		t.Errorf("got %s and %s", string(x.PrivateKey), string(y.PrivateKey))
	}
	raw, err := json.Marshal(Objects{a})
	if err != nil || !json.Valid(raw) || bytes.Contains(raw, []byte("one")) {
		t.Errorf("%s, %v", raw, err)
	}
}

func FuzzObjects(f *testing.F) {
	raw, _ := json.Marshal(Objects{&Namespace{}, &Secret{}, &RouteSet{}})
	f.Add(raw)
	f.Add([]byte(`[{"type":"RouteSet","object":{"meta":{"Lines":"AAFhAQ=="}}}]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var list Objects
		if json.Unmarshal(raw, &list) != nil {
			return
		}
		for _, o := range list {
			o.Head().Lines.Line("spec.http[0]")
		}
		if _, err := json.Marshal(list); err != nil {
			t.Errorf("was read and cannot be written: %v", err)
		}
	})
}
