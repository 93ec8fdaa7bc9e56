package patch

import (
	"cmp"
	"net/mail"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/envoyproxy/protoc-gen-validate/validate"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
)

// validateScalar checks a value that is no message.
func validateScalar(at string, v protoreflect.Value, fd protoreflect.FieldDescriptor, rules *validate.FieldRules) error {
	switch r := rules.GetType().(type) {
	case nil:
		return nil
	case *validate.FieldRules_String_:
		return validateString(at, v.String(), r.String_)
	case *validate.FieldRules_Bytes:
		return validateBytes(at, v.Bytes(), r.Bytes)
	case *validate.FieldRules_Bool:
		if r.Bool.Const != nil && v.Bool() != r.Bool.GetConst() {
			return wrong(at, "must be %v", r.Bool.GetConst())
		}
	case *validate.FieldRules_Enum:
		return validateEnum(at, v.Enum(), fd.Enum(), r.Enum)
	default:
		if fd.Kind() == protoreflect.StringKind || fd.Kind() == protoreflect.BytesKind {
			return nil
		}
		rm := rules.ProtoReflect()
		set := rm.WhichOneof(rm.Descriptor().Oneofs().ByName("type"))
		return validateNumber(at, v, rm.Get(set).Message())
	}
	return nil
}

// validateNumber reads the rules by their names, which are the same for all kinds of
// numbers.
func validateNumber(at string, v protoreflect.Value, rules protoreflect.Message) error {
	f := rules.Descriptor().Fields()
	has := func(name protoreflect.Name) (protoreflect.Value, bool) {
		fd := f.ByName(name)
		return rules.Get(fd), rules.Has(fd)
	}
	if e, ok := has("ignore_empty"); ok && e.Bool() && isZero(v) {
		return nil
	}
	if c, ok := has("const"); ok && compareNumbers(v, c) != 0 {
		return wrong(at, "must be %v", c)
	}
	within := func(list protoreflect.List) bool {
		for i := range list.Len() {
			if compareNumbers(v, list.Get(i)) == 0 {
				return true
			}
		}
		return false
	}
	if in := rules.Get(f.ByName("in")).List(); in.Len() > 0 && !within(in) {
		return wrong(at, "has the value %v, which is none of those allowed", v)
	}
	if within(rules.Get(f.ByName("not_in")).List()) {
		return wrong(at, "must not be %v", v)
	}
	low, high := bound{word: "above"}, bound{word: "below"}
	low.read(has, "gt", "gte")
	high.read(has, "lt", "lte")
	return between(at, v, low, high, compareNumbers)
}

// bound is one side of a range.
type bound struct {
	value protoreflect.Value
	set   bool
	equal bool // the value itself is inside
	word  string
}

func (b *bound) read(has func(protoreflect.Name) (protoreflect.Value, bool), strict, equal protoreflect.Name) {
	if v, ok := has(equal); ok {
		b.value, b.set, b.equal = v, true, true
	}
	if v, ok := has(strict); ok {
		b.value, b.set, b.equal = v, true, false
	}
}

func (b *bound) String() string {
	if b.equal {
		return b.word + " or equal to " + b.value.String()
	}
	return b.word + " " + b.value.String()
}

// between checks a range. A lower bound above the upper one means everything outside.
func between(at string, v protoreflect.Value, low, high bound, compare func(a, b protoreflect.Value) int) error {
	c := 1
	if low.set {
		c = compare(v, low.value)
	}
	above := c > 0 || c == 0 && low.equal
	c = -1
	if high.set {
		c = compare(v, high.value)
	}
	below := c < 0 || c == 0 && high.equal
	if low.set && high.set && compare(low.value, high.value) > 0 {
		if !above && !below {
			return wrong(at, "must be %v, or %v", &low, &high)
		}
		return nil
	}
	switch {
	case !above:
		return wrong(at, "must be %v", &low)
	case !below:
		return wrong(at, "must be %v", &high)
	}
	return nil
}

func isZero(v protoreflect.Value) bool {
	switch n := v.Interface().(type) {
	case int32:
		return n == 0
	case int64:
		return n == 0
	case uint32:
		return n == 0
	case uint64:
		return n == 0
	case float32:
		return n == 0
	case float64:
		return n == 0
	}
	return false
}

// compareNumbers compares two numbers of one kind.
func compareNumbers(a, b protoreflect.Value) int {
	switch a.Interface().(type) {
	case int32, int64:
		return cmp.Compare(a.Int(), b.Int())
	case uint32, uint64:
		return cmp.Compare(a.Uint(), b.Uint())
	}
	return cmp.Compare(a.Float(), b.Float())
}

func validateEnum(at string, n protoreflect.EnumNumber, ed protoreflect.EnumDescriptor, r *validate.EnumRules) error {
	switch {
	case r.Const != nil && int32(n) != r.GetConst():
		return wrong(at, "must be %d", r.GetConst())
	case r.GetDefinedOnly() && ed.Values().ByNumber(n) == nil:
		return wrong(at, "has the unknown value %d", n)
	case len(r.GetIn()) > 0 && !slices.Contains(r.GetIn(), int32(n)), slices.Contains(r.GetNotIn(), int32(n)):
		if v := ed.Values().ByNumber(n); v != nil {
			return wrong(at, "must not be %s", v.Name())
		}
		return wrong(at, "must not be %d", n)
	}
	return nil
}

func validateDuration(at string, m protoreflect.Message, r *validate.DurationRules) error {
	f := m.Descriptor().Fields()
	whole := &durationpb.Duration{Seconds: m.Get(f.ByName("seconds")).Int(), Nanos: int32(m.Get(f.ByName("nanos")).Int())} //nolint:gosec // it is an int32
	if err := whole.CheckValid(); err != nil {
		return wrong(at, "is no duration")
	}
	d := whole.AsDuration()
	is := func(x *durationpb.Duration) bool { return x.AsDuration() == d }
	switch {
	case r.GetConst() != nil && !is(r.GetConst()):
		return wrong(at, "must be %v", r.GetConst().AsDuration())
	case r.GetGt() != nil && d <= r.GetGt().AsDuration():
		return wrong(at, "must be above %v", r.GetGt().AsDuration())
	case r.GetGte() != nil && d < r.GetGte().AsDuration():
		return wrong(at, "must be %v or more", r.GetGte().AsDuration())
	case r.GetLt() != nil && d >= r.GetLt().AsDuration():
		return wrong(at, "must be below %v", r.GetLt().AsDuration())
	case r.GetLte() != nil && d > r.GetLte().AsDuration():
		return wrong(at, "must be %v or less", r.GetLte().AsDuration())
	case len(r.GetIn()) > 0 && !slices.ContainsFunc(r.GetIn(), is), slices.ContainsFunc(r.GetNotIn(), is):
		return wrong(at, "must not be %v", d)
	}
	return nil
}

func validateBytes(at string, b []byte, r *validate.BytesRules) error {
	if r.GetIgnoreEmpty() && len(b) == 0 {
		return nil
	}
	if r.Len != nil && uint64(len(b)) != r.GetLen() {
		return wrong(at, "must have %d bytes", r.GetLen())
	}
	return sized(at, "bytes", uint64(len(b)), r.MinLen, r.MaxLen)
}

func validateString(at, s string, r *validate.StringRules) error {
	if r.GetIgnoreEmpty() && s == "" {
		return nil
	}
	runes, size := uint64(utf8.RuneCountInString(s)), uint64(len(s)) //nolint:gosec // lengths
	switch {
	case r.Const != nil && s != r.GetConst():
		return wrong(at, "must be %q", r.GetConst())
	case s == "" && (r.GetMinLen() > 0 || r.GetMinBytes() > 0):
		return wrong(at, "is missing")
	case r.Len != nil && runes != r.GetLen():
		return wrong(at, "must have %d characters", r.GetLen())
	case r.LenBytes != nil && size != r.GetLenBytes():
		return wrong(at, "must have %d bytes", r.GetLenBytes())
	case len(r.GetIn()) > 0 && !slices.Contains(r.GetIn(), s), slices.Contains(r.GetNotIn(), s):
		return wrong(at, "must not be %q", s)
	case !strings.HasPrefix(s, r.GetPrefix()):
		return wrong(at, "must begin with %q", r.GetPrefix())
	case !strings.HasSuffix(s, r.GetSuffix()):
		return wrong(at, "must end with %q", r.GetSuffix())
	case !strings.Contains(s, r.GetContains()):
		return wrong(at, "must contain %q", r.GetContains())
	case r.NotContains != nil && strings.Contains(s, r.GetNotContains()):
		return wrong(at, "must not contain %q", r.GetNotContains())
	case r.GetPattern() != "" && !pattern(r.GetPattern()).MatchString(s):
		return wrong(at, "must match %s", r.GetPattern())
	}
	if err := sized(at, "characters", runes, r.MinLen, r.MaxLen); err != nil {
		return err
	}
	if err := sized(at, "bytes", size, r.MinBytes, r.MaxBytes); err != nil {
		return err
	}
	return wellKnown(at, s, r)
}

// wellKnown checks the forms that have names.
func wellKnown(at, s string, r *validate.StringRules) error {
	addr, addrErr := netip.ParseAddr(s)
	ok, what := true, ""
	switch k := r.GetWellKnown().(type) {
	case *validate.StringRules_Email:
		_, err := mail.ParseAddress(s)
		ok, what = err == nil, "an e-mail address"
	case *validate.StringRules_Hostname:
		ok, what = hostname(s), "a host name"
	case *validate.StringRules_Ip:
		ok, what = addrErr == nil, "an IP address"
	case *validate.StringRules_Ipv4:
		ok, what = addrErr == nil && addr.Is4(), "an IPv4 address"
	case *validate.StringRules_Ipv6:
		ok, what = addrErr == nil && addr.Is6(), "an IPv6 address"
	case *validate.StringRules_Uri:
		u, err := url.Parse(s)
		ok, what = err == nil && u.IsAbs(), "a URI"
	case *validate.StringRules_UriRef:
		_, err := url.Parse(s)
		ok, what = err == nil, "a URI reference"
	case *validate.StringRules_Address:
		ok, what = addrErr == nil || hostname(s), "a host name or an IP address"
	case *validate.StringRules_WellKnownRegex:
		switch {
		case k.WellKnownRegex == validate.KnownRegex_UNKNOWN:
		case !r.GetStrict():
			ok, what = !strings.ContainsAny(s, "\x00\n\r"), "a header"
		case k.WellKnownRegex == validate.KnownRegex_HTTP_HEADER_NAME:
			ok, what = headerName.MatchString(s), "the name of a header"
		default:
			ok, what = headerValue.MatchString(s), "the value of a header"
		}
	}
	if !ok {
		return wrong(at, "must be %s, got %q", what, s)
	}
	return nil
}

var (
	headerName  = regexp.MustCompile("^:?[0-9a-zA-Z!#$%&'*+-.^_|~`]+$")
	headerValue = regexp.MustCompile("^[^\x00-\x08\x0A-\x1F\x7F]*$")
	label       = regexp.MustCompile(`^[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$`)
)

func hostname(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return false
	}
	for part := range strings.SplitSeq(s, ".") {
		if !label.MatchString(part) {
			return false
		}
	}
	return true
}

var patterns sync.Map // string → *regexp.Regexp; as many as Envoy's API has

func pattern(p string) *regexp.Regexp {
	if r, ok := patterns.Load(p); ok {
		return r.(*regexp.Regexp)
	}
	r, _ := patterns.LoadOrStore(p, regexp.MustCompile(p))
	return r.(*regexp.Regexp)
}
