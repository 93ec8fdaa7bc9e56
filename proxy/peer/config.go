package peer

import (
	"errors"
	"fmt"

	udpav1 "github.com/cncf/xds/go/udpa/type/v1"
	xdsv3 "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// OpenStruct reads a configuration whose message nobody publishes: istiod writes
// such in a TypedStruct, of both spellings.
func OpenStruct(a *anypb.Any, typeURL string) (*structpb.Struct, error) {
	var u udpav1.TypedStruct
	var x xdsv3.TypedStruct
	got, value := a.GetTypeUrl(), (*structpb.Struct)(nil)
	switch {
	case a.MessageIs(&u):
		if err := a.UnmarshalTo(&u); err != nil {
			return nil, err
		}
		got, value = u.TypeUrl, u.Value
	case a.MessageIs(&x):
		if err := a.UnmarshalTo(&x); err != nil {
			return nil, err
		}
		got, value = x.TypeUrl, x.Value
	}
	if value == nil && len(a.GetValue()) > 0 && got == a.GetTypeUrl() {
		return nil, fmt.Errorf("%s: want a TypedStruct of %s", a.GetTypeUrl(), typeURL)
	}
	if got != typeURL {
		return nil, fmt.Errorf("type_url: %q is not %q", got, typeURL)
	}
	return value, nil
}

// Strings reads a list of strings.
func Strings(v *structpb.Value) (out []string, err error) {
	list, ok := v.GetKind().(*structpb.Value_ListValue)
	if !ok {
		return nil, errors.New("want a list of strings")
	}
	for i, s := range list.ListValue.GetValues() {
		text, ok := s.GetKind().(*structpb.Value_StringValue)
		if !ok {
			return nil, fmt.Errorf("[%d]: want a string", i)
		}
		out = append(out, text.StringValue)
	}
	return out, nil
}
