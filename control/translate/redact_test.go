package translate_test

import (
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/translate"
)

func TestRedact(t *testing.T) {
	inline := func(s string) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: []byte(s)}}
	}
	cert := &tlsv3.TlsCertificate{CertificateChain: inline("public"), PrivateKey: inline("hidden"), Password: inline("hidden")}
	for name, tc := range map[string]struct {
		m    proto.Message
		want string // of what is shown
	}{
		"certificate": {&tlsv3.Secret{Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: cert}}, "cHVibGlj"},
		"in a list":   {&tlsv3.CommonTlsContext{TlsCertificates: []*tlsv3.TlsCertificate{cert}}, "cHVibGlj"},
		"tickets": {&tlsv3.Secret{Type: &tlsv3.Secret_SessionTicketKeys{
			SessionTicketKeys: &tlsv3.TlsSessionTicketKeys{Keys: []*corev3.DataSource{inline("hidden")}},
		}}, "sessionTicketKeys"},
		"a file": {&tlsv3.TlsCertificate{PrivateKey: &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: "/etc/key"}}}, "/etc/key"},
	} {
		before := proto.Clone(tc.m)
		text := protojson.Format(translate.Redact(tc.m))
		if strings.Contains(text, "aGlkZGVu") || !strings.Contains(text, tc.want) {
			t.Errorf("%s: shown is %s", name, text)
		}
		if !proto.Equal(before, tc.m) {
			t.Errorf("%s: the message itself has changed", name)
		}
	}
	plain := inline("public")
	if translate.Redact(plain) != proto.Message(plain) {
		t.Error("a message with nothing to hide is copied")
	}
}
