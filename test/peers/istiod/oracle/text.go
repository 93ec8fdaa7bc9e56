package oracle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	udpav1 "github.com/cncf/xds/go/udpa/type/v1"
	xdsv3 "github.com/cncf/xds/go/xds/type/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const anyName = "google.protobuf.Any"

// whole is the text of messages that are one thing however they are written.
func whole(m protoreflect.Message) (text string, ok bool, err error) {
	if !m.IsValid() {
		return "", true, nil
	}
	switch x := m.Interface().(type) {
	case *durationpb.Duration:
		return x.AsDuration().String(), true, nil
	case *wrapperspb.BoolValue:
		return strconv.FormatBool(x.GetValue()), true, nil
	case *wrapperspb.UInt32Value:
		return strconv.FormatUint(uint64(x.GetValue()), 10), true, nil
	case *wrapperspb.UInt64Value:
		return strconv.FormatUint(x.GetValue(), 10), true, nil
	case *wrapperspb.DoubleValue:
		return strconv.FormatFloat(x.GetValue(), 'g', -1, 64), true, nil
	case *wrapperspb.StringValue:
		return x.GetValue(), true, nil
	case *structpb.Value:
		text, err := jsonText(x)
		return text, true, err
	case *typev3.FractionalPercent:
		of := map[typev3.FractionalPercent_DenominatorType]float64{typev3.FractionalPercent_TEN_THOUSAND: 1e4, typev3.FractionalPercent_MILLION: 1e6}[x.GetDenominator()]
		if of == 0 {
			of = 100
		}
		return strconv.FormatFloat(float64(x.GetNumerator())*100/of, 'g', 9, 64) + "%", true, nil
	case *typev3.Percent:
		return strconv.FormatFloat(x.GetValue(), 'g', -1, 64) + "%", true, nil
	case *corev3.CidrRange:
		p, err := netip.ParsePrefix(x.GetAddressPrefix() + "/" + strconv.Itoa(int(x.GetPrefixLen().GetValue())))
		if err != nil {
			return "", true, err
		}
		return p.Masked().String(), true, nil
	case *corev3.Address:
		if a := x.GetSocketAddress(); a != nil && onlyPlace(a) {
			return a.GetAddress() + ":" + strconv.Itoa(int(a.GetPortValue())), true, nil
		}
		if p := x.GetPipe(); p != nil && p.GetMode() == 0 {
			return "unix://" + p.GetPath(), true, nil
		}
	case *corev3.DataSource:
		switch s := x.GetSpecifier().(type) {
		case *corev3.DataSource_InlineString:
			return s.InlineString, true, nil
		case *corev3.DataSource_InlineBytes:
			return string(s.InlineBytes), true, nil
		}
	}
	return "", false, nil
}

// onlyPlace: nothing is said of the socket but where it is.
func onlyPlace(a *corev3.SocketAddress) bool {
	return proto.Equal(a, &corev3.SocketAddress{Address: a.GetAddress(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: a.GetPortValue()}})
}

// packed writes what an Any holds; a TypedStruct counts as the message that it stands for.
func (f *Form) packed(at string, m protoreflect.Message) error {
	a := m.Interface().(*anypb.Any)
	inner, err := a.UnmarshalNew()
	if err != nil {
		return fmt.Errorf("%s: %w (import its package in types.go)", at, err)
	}
	var url string
	var value *structpb.Struct
	switch x := inner.(type) {
	case *udpav1.TypedStruct:
		url, value = x.GetTypeUrl(), x.GetValue()
	case *xdsv3.TypedStruct:
		url, value = x.GetTypeUrl(), x.GetValue()
	default:
		f.leaves[join(at, "@type")] = string(inner.ProtoReflect().Descriptor().FullName())
		return f.message(at, inner.ProtoReflect())
	}
	name := protoreflect.FullName(url[strings.LastIndexByte(url, '/')+1:])
	f.leaves[join(at, "@type")] = string(name)
	t, err := protoregistry.GlobalTypes.FindMessageByName(name)
	if err != nil { // known to Istio's proxy alone
		return f.message(at, value.ProtoReflect())
	}
	raw, err := protojson.Marshal(value)
	if err != nil {
		return err
	}
	known := t.New()
	if err := protojson.Unmarshal(raw, known.Interface()); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	return f.message(at, known)
}

// jsonText is a value with its keys in order.
func jsonText(v *structpb.Value) (string, error) {
	raw, err := v.MarshalJSON()
	if err != nil {
		return "", err
	}
	var x any
	if err := json.Unmarshal(raw, &x); err != nil {
		return "", err
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err = e.Encode(x)
	return strings.TrimSpace(b.String()), err
}
