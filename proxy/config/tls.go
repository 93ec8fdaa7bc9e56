package config

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rawv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/proxy/http/match"
	"github.com/weftmesh/weft/proxy/transport"
	"github.com/weftmesh/weft/wire"
)

// defaultFetchTimeout is Envoy's for configuration that another one waits for.
const defaultFetchTimeout = 15 * time.Second

// need is something that a resource refers to and waits for before it is used.
type need struct {
	name string
	// local: it comes from the proxy's own identity, not over ADS.
	local bool
	// path of the file that it is in, where it is called inside; "": it is in none.
	path, inside string
	// timeout of the wait; 0: for ever.
	timeout time.Duration
}

// upstreamTLS decodes a client's transport socket; nil: plain text.
func (d *Decoder) upstreamTLS(m *corev3.TransportSocket) (*transport.TLSContext, []need, error) {
	a := m.GetTypedConfig()
	if a == nil || a.MessageIs(&rawv3.RawBuffer{}) {
		return nil, nil, nameOnly(m)
	}
	c := &tlsv3.UpstreamTlsContext{}
	if err := unpack(a, c); err != nil {
		return nil, nil, at(err, "typed_config")
	}
	t := &transport.TLSContext{SNI: c.Sni, AutoHostSNI: c.AutoHostSni, AutoSANValidation: c.AutoSniSanValidation}
	if c.MaxSessionKeys != nil {
		if c.MaxSessionKeys.Value != 0 {
			return nil, nil, at(errors.New("only 0 is supported"), "typed_config.max_session_keys")
		}
		t.NoTickets = true
	}
	needs, err := d.commonTLS(c.CommonTlsContext, t)
	return t, needs, at(err, "typed_config.common_tls_context")
}

// downstreamTLS decodes a server's transport socket; nil: plain text.
func (d *Decoder) downstreamTLS(m *corev3.TransportSocket) (*transport.TLSContext, []need, error) {
	a := m.GetTypedConfig()
	if a == nil || a.MessageIs(&rawv3.RawBuffer{}) {
		return nil, nil, nameOnly(m)
	}
	c := &tlsv3.DownstreamTlsContext{}
	if err := unpack(a, c); err != nil {
		return nil, nil, at(err, "typed_config")
	}
	t := &transport.TLSContext{
		RequireClientCert: c.GetRequireClientCertificate().GetValue(),
		NoTickets:         c.GetDisableStatelessSessionResumption(),
	}
	switch c.OcspStaplePolicy {
	case tlsv3.DownstreamTlsContext_STRICT_STAPLING:
		t.Staple = transport.StapleStrict
	case tlsv3.DownstreamTlsContext_MUST_STAPLE:
		t.Staple = transport.StapleMust
	}
	needs, err := d.ticketKeys(c, t)
	if err != nil {
		return nil, nil, at(err, "typed_config")
	}
	more, err := d.commonTLS(c.CommonTlsContext, t)
	return t, append(needs, more...), at(err, "typed_config.common_tls_context")
}

// ticketKeys reads what session tickets are encrypted with.
func (d *Decoder) ticketKeys(m *tlsv3.DownstreamTlsContext, t *transport.TLSContext) ([]need, error) {
	if s := m.GetSessionTicketKeysSdsSecretConfig(); s != nil {
		n, err := d.secretRef(s)
		t.TicketSecret = n.name
		return []need{n}, at(err, "session_ticket_keys_sds_secret_config")
	}
	if m.GetSessionTicketKeys() == nil {
		return nil, nil
	}
	var err error
	t.Tickets, err = readTicketKeys(m.GetSessionTicketKeys())
	return nil, at(err, "session_ticket_keys")
}

func readTicketKeys(m *tlsv3.TlsSessionTicketKeys) (*transport.TicketKeys, error) {
	var raw [][]byte
	for i, k := range m.GetKeys() {
		b, err := match.Data(k)
		if err != nil {
			return nil, at(err, "keys[%d]", i)
		}
		raw = append(raw, b)
	}
	return transport.ParseTicketKeys(raw)
}

// nameOnly accepts a transport socket without configuration if it is the plain one.
func nameOnly(m *corev3.TransportSocket) error {
	if m == nil || m.GetTypedConfig() != nil || m.Name == "envoy.transport_sockets.raw_buffer" {
		return nil
	}
	return fmt.Errorf("%q without typed_config is not supported", m.Name)
}

func (d *Decoder) commonTLS(c *tlsv3.CommonTlsContext, t *transport.TLSContext) ([]need, error) {
	if c == nil {
		return nil, nil
	}
	t.ALPN = c.AlpnProtocols
	if err := tlsParams(c.TlsParams, t); err != nil {
		return nil, at(err, "tls_params")
	}
	for i, m := range c.TlsCertificates {
		cert, err := certificate(m)
		if err != nil {
			return nil, at(err, "tls_certificates[%d]", i)
		}
		t.Certs = append(t.Certs, cert)
	}
	var needs []need
	for i, s := range c.TlsCertificateSdsSecretConfigs {
		n, err := d.secretRef(s)
		if err != nil {
			return nil, at(err, "tls_certificate_sds_secret_configs[%d]", i)
		}
		needs = append(needs, n)
		t.CertSecrets = append(t.CertSecrets, n.name)
	}
	more, err := d.validation(c, &t.Validation)
	return append(needs, more...), err
}

func (d *Decoder) validation(c *tlsv3.CommonTlsContext, v *transport.Validation) ([]need, error) {
	trust := func(s *tlsv3.SdsSecretConfig) ([]need, error) {
		n, err := d.secretRef(s)
		v.TrustSecret = n.name
		return []need{n}, at(err, "validation_context_sds_secret_config")
	}
	switch s := c.ValidationContextType.(type) {
	case nil:
		return nil, nil
	case *tlsv3.CommonTlsContext_ValidationContext:
		return nil, at(validationContext(s.ValidationContext, v), "validation_context")
	case *tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig:
		return trust(s.ValidationContextSdsSecretConfig)
	case *tlsv3.CommonTlsContext_CombinedValidationContext:
		if err := validationContext(s.CombinedValidationContext.DefaultValidationContext, v); err != nil {
			return nil, at(err, "combined_validation_context.default_validation_context")
		}
		if s.CombinedValidationContext.DefaultValidationContext.GetCustomValidatorConfig() != nil {
			return nil, at(errors.New("is not supported beside a secret: put it into the secret"),
				"combined_validation_context.default_validation_context.custom_validator_config")
		}
		v.Trust = nil // the secret's replaces it
		needs, err := trust(s.CombinedValidationContext.ValidationContextSdsSecretConfig)
		return needs, at(err, "combined_validation_context")
	default:
		return nil, fmt.Errorf("%T is not supported", s)
	}
}

func validationContext(m *tlsv3.CertificateValidationContext, v *transport.Validation) error {
	if m == nil {
		return nil
	}
	v.AcceptUntrusted = m.TrustChainVerification == tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
	var err error
	if v.Trust, err = trustedCA(m); err != nil {
		return err
	}
	if v.Revoked, err = revocations(m); err != nil {
		return err
	}
	v.RevokedLeafOnly = m.OnlyVerifyLeafCertCrl
	for i, s := range m.MatchTypedSubjectAltNames {
		san, err := sanMatch(s)
		if err != nil {
			return at(err, "match_typed_subject_alt_names[%d]", i)
		}
		v.SANs = append(v.SANs, san)
	}
	for i, s := range m.MatchSubjectAltNames { //nolint:staticcheck // deprecated, still written
		t, err := textMatch(s)
		if err != nil {
			return at(err, "match_subject_alt_names[%d]", i)
		}
		v.SANs = append(v.SANs, transport.SANMatch{Type: transport.SANAny, Text: t})
	}
	for i, s := range m.VerifyCertificateSpki {
		sum, err := base64.StdEncoding.DecodeString(s)
		if err != nil || len(sum) != 32 {
			return at(errors.New("want the base64 of a SHA-256 sum"), "verify_certificate_spki[%d]", i)
		}
		v.SPKI = append(v.SPKI, [32]byte(sum))
	}
	for i, s := range m.VerifyCertificateHash {
		sum, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
		if err != nil || len(sum) != 32 {
			return at(errors.New("want a SHA-256 sum in hexadecimal"), "verify_certificate_hash[%d]", i)
		}
		v.Hashes = append(v.Hashes, [32]byte(sum))
	}
	return nil
}

// spiffeTrust reads the roots of each trust domain.
func spiffeTrust(m *corev3.TypedExtensionConfig) (*transport.Trust, error) {
	c := &tlsv3.SPIFFECertValidatorConfig{}
	if !m.GetTypedConfig().MessageIs(c) {
		return nil, fmt.Errorf("%s is not supported: want SPIFFECertValidatorConfig", typeOf(m.GetTypedConfig()))
	}
	if err := unpack(m.TypedConfig, c); err != nil {
		return nil, err
	}
	bundles := map[string][]byte{}
	for i, d := range c.TrustDomains {
		pem, err := match.Data(d.TrustBundle)
		if err != nil {
			return nil, at(err, "trust_domains[%d].trust_bundle", i)
		}
		if _, twice := bundles[d.Name]; twice {
			return nil, at(fmt.Errorf("%q is there twice", d.Name), "trust_domains[%d].name", i)
		}
		bundles[d.Name] = pem
	}
	return transport.ParseSPIFFETrust(bundles)
}

func trustedCA(m *tlsv3.CertificateValidationContext) (*transport.Trust, error) {
	if m.CustomValidatorConfig != nil {
		if m.TrustedCa != nil || m.Crl != nil {
			return nil, at(errors.New("is not supported beside trusted_ca or crl"), "custom_validator_config")
		}
		t, err := spiffeTrust(m.CustomValidatorConfig)
		return t, at(err, "custom_validator_config.typed_config")
	}
	pem, err := match.Data(m.TrustedCa)
	if err != nil || pem == nil {
		return nil, at(err, "trusted_ca")
	}
	t, err := transport.ParseTrust(pem)
	return t, at(err, "trusted_ca")
}

// revocations are nil where there are none.
func revocations(m *tlsv3.CertificateValidationContext) (*transport.Revocations, error) {
	b, err := match.Data(m.Crl)
	if err != nil || b == nil {
		return nil, at(err, "crl")
	}
	r, err := transport.ParseRevocations(b)
	return r, at(err, "crl")
}

func sanMatch(m *tlsv3.SubjectAltNameMatcher) (transport.SANMatch, error) {
	s := transport.SANMatch{}
	switch m.SanType {
	case tlsv3.SubjectAltNameMatcher_DNS:
		s.Type = transport.SANDNS
	case tlsv3.SubjectAltNameMatcher_URI:
		s.Type = transport.SANURI
	case tlsv3.SubjectAltNameMatcher_IP_ADDRESS:
		s.Type = transport.SANIP
	case tlsv3.SubjectAltNameMatcher_EMAIL:
		s.Type = transport.SANEmail
	default:
		return s, at(fmt.Errorf("%v is not supported", m.SanType), "san_type")
	}
	var err error
	s.Text, err = textMatch(m.Matcher)
	return s, at(err, "matcher")
}

func certificate(m *tlsv3.TlsCertificate) (*transport.Certificate, error) {
	chain, err := match.Data(m.CertificateChain)
	if err != nil {
		return nil, at(err, "certificate_chain")
	}
	key, err := match.Data(m.PrivateKey)
	if err != nil {
		return nil, at(err, "private_key")
	}
	c, err := transport.ParseCertificate(chain, key)
	if err != nil || m.OcspStaple == nil {
		return c, err
	}
	staple, err := match.Data(m.OcspStaple)
	if err == nil {
		c, err = c.WithStaple(staple)
	}
	return c, at(err, "ocsp_staple")
}

// secretRef reads where a secret comes from.
func (d *Decoder) secretRef(m *tlsv3.SdsSecretConfig) (need, error) {
	n := need{name: m.GetName()}
	if n.name == "" {
		return n, at(errors.New("is empty"), "name")
	}
	if m.SdsConfig == nil { // a static secret of the bootstrap
		if !d.staticSecrets[m.Name] {
			return n, at(fmt.Errorf("there is no static secret %q", m.Name), "name")
		}
		return n, nil
	}
	if path, err := pathSource(m.SdsConfig); path != "" || err != nil {
		n.name, n.path, n.inside, n.timeout = path+"#"+n.name, path, n.name, fetchTimeout(m.SdsConfig)
		return n, at(err, "sds_config")
	}
	if c := m.SdsConfig.GetApiConfigSource(); sdsCluster(c) != "" && sdsCluster(c) != wire.SDSCluster {
		if c.ApiType != corev3.ApiConfigSource_GRPC {
			return n, at(fmt.Errorf("%s is not supported: use GRPC", c.ApiType), "sds_config.api_config_source.api_type")
		}
		n.name, n.local, n.timeout = RemoteSecret{Cluster: sdsCluster(c), Authority: c.GrpcServices[0].GetEnvoyGrpc().GetAuthority(), Name: n.name}.String(), true, fetchTimeout(m.SdsConfig)
		return n, nil
	}
	src, err := readSource(m.SdsConfig, wire.SDSCluster)
	if err != nil {
		return n, at(err, "sds_config")
	}
	if src.cluster != "" && m.Name != wire.SecretWorkload && m.Name != wire.SecretRoot {
		if d.LocalSecret == nil {
			return n, at(fmt.Errorf("the cluster %s serves %q and %q only, not %q",
				wire.SDSCluster, wire.SecretWorkload, wire.SecretRoot, m.Name), "name")
		}
		if err := d.LocalSecret(m.Name); err != nil {
			return n, at(fmt.Errorf("the cluster %s has no such secret: %w", wire.SDSCluster, err), "name")
		}
	}
	n.local, n.timeout = src.cluster != "", src.timeout
	return n, nil
}

// source is a decoded ConfigSource: ADS, or a gRPC service of one known cluster.
type source struct {
	cluster string // "": ADS
	timeout time.Duration
}

// fetchTimeout is how long what comes from there is waited for.
func fetchTimeout(m *corev3.ConfigSource) time.Duration {
	if m.GetInitialFetchTimeout() != nil {
		return m.InitialFetchTimeout.AsDuration()
	}
	return defaultFetchTimeout
}

// readSource accepts ADS, and a cluster when it has the given name.
func readSource(m *corev3.ConfigSource, cluster string) (source, error) {
	s := source{timeout: fetchTimeout(m)}
	switch c := m.GetConfigSourceSpecifier().(type) {
	case *corev3.ConfigSource_Ads:
		return s, nil
	case *corev3.ConfigSource_ApiConfigSource:
		if len(c.ApiConfigSource.GrpcServices) == 1 {
			s.cluster = c.ApiConfigSource.GrpcServices[0].GetEnvoyGrpc().GetClusterName()
		}
		if cluster == "" || s.cluster != cluster {
			return s, at(errors.New("only ads, or the cluster "+wire.SDSCluster+" for secrets, is supported"), "api_config_source")
		}
		return s, nil
	case *corev3.ConfigSource_PathConfigSource:
		return s, at(errors.New("is supported for secrets only"), "path_config_source")
	}
	return s, errors.New("only ads is supported")
}

func tlsParams(m *tlsv3.TlsParameters, t *transport.TLSContext) error {
	if m == nil {
		return nil
	}
	t.MinVersion, t.MaxVersion = tlsVersion(m.TlsMinimumProtocolVersion), tlsVersion(m.TlsMaximumProtocolVersion)
	for i, list := range m.CipherSuites {
		for _, name := range strings.FieldsFunc(list, func(r rune) bool { return r == '[' || r == ']' || r == '|' }) {
			id, ok := ciphers[name]
			if !ok {
				return at(fmt.Errorf("%q is not supported", name), "cipher_suites[%d]", i)
			}
			t.Ciphers = append(t.Ciphers, id)
		}
	}
	for i, name := range m.EcdhCurves {
		id, ok := curves[name]
		if !ok {
			return at(fmt.Errorf("%q is not supported", name), "ecdh_curves[%d]", i)
		}
		t.Curves = append(t.Curves, id)
	}
	return nil
}

func tlsVersion(v tlsv3.TlsParameters_TlsProtocol) uint16 {
	switch v {
	case tlsv3.TlsParameters_TLSv1_0:
		return tls.VersionTLS10
	case tlsv3.TlsParameters_TLSv1_1:
		return tls.VersionTLS11
	case tlsv3.TlsParameters_TLSv1_2:
		return tls.VersionTLS12
	case tlsv3.TlsParameters_TLSv1_3:
		return tls.VersionTLS13
	}
	return 0
}

// ciphers are OpenSSL's names, which Envoy uses, of what crypto/tls has for
// TLS 1.2. Those of AES-256-GCM with RSA key exchange are insecure by Go's
// judgement, but on Istio's default list.
var ciphers = map[string]uint16{
	"ECDHE-ECDSA-AES128-GCM-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-RSA-AES128-GCM-SHA256":   tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-ECDSA-AES256-GCM-SHA384": tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-RSA-AES256-GCM-SHA384":   tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-ECDSA-CHACHA20-POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-RSA-CHACHA20-POLY1305":   tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-ECDSA-AES128-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
	"ECDHE-RSA-AES128-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	"ECDHE-ECDSA-AES256-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	"ECDHE-RSA-AES256-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	"AES128-GCM-SHA256":             tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
	"AES256-GCM-SHA384":             tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	"AES128-SHA":                    tls.TLS_RSA_WITH_AES_128_CBC_SHA,
	"AES256-SHA":                    tls.TLS_RSA_WITH_AES_256_CBC_SHA,
}

var curves = map[string]tls.CurveID{
	"P-256": tls.CurveP256, "P-384": tls.CurveP384, "P-521": tls.CurveP521,
	"X25519": tls.X25519, "X25519MLKEM768": tls.X25519MLKEM768,
}
