package thriftidl

import (
	"strings"
	"testing"
)

const shop = `
namespace go shop
namespace * x (a = "b")
/* several
   lines */
typedef i64 (cpp.type = "x") ID // of things
typedef map<string, list<Item>> Shelf
const i32 MAX = 7
const map<string, list<i32>> M = {"a": [1, 2], 'b': []}
enum Colour { RED, GREEN = 4, BLUE (x = "y"); }
struct Item {
  1: required ID id
  2: optional string name = "none",
  3: Colour colour;
  4: binary raw, 5: set<bool> flags
  6: Item next
  7: double price (unit = "EUR")
}
union Either { 1: i32 number, 2: string text }
exception NotFound { 1: string why } (deprecated)
service Base { void ping() }
service Shop extends Base {
  Item get(1: ID id, 2: Either how) throws (1: NotFound no, 2: NotFound twice),
  oneway void tell(1: list<Item> items);
  Shelf shelf() (cached = "yes")
}
`

func TestParse(t *testing.T) {
	f, err := Parse(shop)
	if err != nil {
		t.Fatal(err)
	}
	s := f.Services["Shop"]
	get := s.Methods["get"]
	item := get.Result.Struct
	if get == nil || len(get.Args.Fields) != 2 || get.Args.Fields[0].Type.Kind != I64 || len(get.Throws) != 2 || !get.Args.Fields[1].Type.Struct.Union {
		t.Errorf("get is %+v", get)
	}
	if len(item.Fields) != 7 || !item.Fields[0].Required || item.Fields[5].Type.Struct != item || item.Fields[2].Type.Enum.Numbers["BLUE"] != 5 || item.Fields[2].Type.Enum.Names[4] != "GREEN" {
		t.Errorf("Item is %+v", item)
	}
	if !s.Methods["tell"].OneWay || s.Methods["tell"].Result != nil || s.Methods["ping"] == nil {
		t.Errorf("tell is %+v", s.Methods["tell"])
	}
	if shelf := s.Methods["shelf"].Result; shelf.Kind != Map || shelf.Key.Kind != String || shelf.Elem.Kind != List || shelf.Elem.Elem.Struct != item {
		t.Errorf("shelf is %+v", shelf)
	}
}

func TestFaults(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "no service",
		"struct A {}":                     "no service",
		"\n\nstruct A { i32 x }":          "line 3: \"i32\": begin fields with their number",
		"struct A { 1: nope x }":          "no type \"nope\"",
		"struct A { 1: i32 x, 1: i32 y }": "of two fields",
		"struct A { 70000: i32 x }":       "16 bits",
		"typedef A B typedef B A":         "stands for itself",
		"include \"x.thrift\"":            "include",
		"service S { void a() void a() }": "twice",
		"service S extends T {}":          "no service \"T\"",
		"service S extends S {}":          "to extend",
		"service S { void a(":             "ends too early",
		"/* x":                            "without an end",
		"\"x":                             "without an end",
		"enum E { A, A }":                 "twice",
		"nonsense":                        "no definition",
		"const i32 x = " + strings.Repeat("[", 100):             "nested",
		"struct A { 1: " + strings.Repeat("list<", 100) + "i32": "nested",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestCheck(t *testing.T) {
	m := &Mapping{IDL: shop, Transport: "pigeon", Protocol: "json", ExceptionStatus: map[string]int32{"Item": 404, "NotFound": 7}}
	_, bad := m.Check()
	var text []string
	for _, p := range bad {
		text = append(text, p.Field+": "+p.Message)
	}
	all := strings.Join(text, "\n")
	for _, want := range []string{`transport: "pigeon"`, `protocol: "json"`, `exceptionStatus.Item: no method throws "Item"`, "exceptionStatus.NotFound: 7 is no status"} {
		if !strings.Contains(all, want) {
			t.Errorf("%s\nlacks %s", all, want)
		}
	}
	if _, _, err := Read([]byte(`{"idl": "service S {void a() throws (1: i32 x)}"}`)); err == nil || !strings.Contains(err.Error(), "no exception") {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(shop)
	f.Add("service S { void a(1: list<map<i32, string>> x) }")
	f.Fuzz(func(t *testing.T, text string) {
		if file, err := Parse(text); err == nil && len(file.Services) == 0 {
			t.Error("no services")
		}
	})
}
