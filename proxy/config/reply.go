package config

import (
	"errors"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	customv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/original_ip_detection/custom_header/v3"
	xffv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/original_ip_detection/xff/v3"

	"github.com/weftmesh/weft/proxy/filter/format"
	"github.com/weftmesh/weft/proxy/http"
	"github.com/weftmesh/weft/proxy/http/match"
	"github.com/weftmesh/weft/proxy/route"
)

func (d *Decoder) formatOptions() format.Options {
	return format.Options{Hostname: d.RouteOptions.Hostname, Env: d.RouteOptions.Env, Missing: "-"}
}

// localReplies reads how the proxy's own answers look, nil for Envoy's default.
func (d *Decoder) localReplies(m *hcmv3.LocalReplyConfig) (*http.LocalReplies, error) {
	if m == nil {
		return nil, nil
	}
	out := &http.LocalReplies{}
	var err error
	if out.Body, err = d.replyBody(m.BodyFormat); err != nil {
		return nil, at(err, "body_format")
	}
	for i, r := range m.Mappers {
		mapper, err := d.replyMapper(r)
		if err != nil {
			return nil, at(err, "mappers[%d]", i)
		}
		out.Mappers = append(out.Mappers, mapper)
	}
	return out, nil
}

func (d *Decoder) replyMapper(m *hcmv3.ResponseMapper) (r http.ReplyMapper, err error) {
	w, err := d.logFilter(m.Filter)
	if err != nil {
		return r, at(err, "filter")
	}
	r.When, r.Status = w, int(m.StatusCode.GetValue())
	if m.Body != nil {
		b, err := match.Data(m.Body)
		if err != nil {
			return r, at(err, "body")
		}
		text := string(b)
		r.Text = &text
	}
	if r.Body, err = d.replyBody(m.BodyFormatOverride); err != nil {
		return r, at(err, "body_format_override")
	}
	ops, err := readHeaderOps(m.HeadersToAdd, nil, "headers_to_add")
	if err != nil {
		return r, err
	}
	o := d.formatOptions()
	o.Missing = ""
	r.Headers, err = route.NewHeaderChanges(ops, o)
	return r, at(err, "headers_to_add")
}

func (d *Decoder) replyBody(m *corev3.SubstitutionFormatString) (*http.ReplyBody, error) {
	if m == nil {
		return nil, nil
	}
	f, err := substitution(m)
	if err != nil {
		return nil, err
	}
	b := &http.ReplyBody{ContentType: f.contentType}
	o := d.formatOptions()
	if f.json != nil {
		b.JSON, err = format.CompileJSON(f.json, o, f.omitEmpty)
		return b, at(err, "json_format")
	}
	if f.omitEmpty {
		o.Missing = ""
	}
	b.Text, err = format.Compile(f.text, o)
	return b, at(err, "text_format")
}

// detectors reads how the client's address is found.
func detectors(m *hcmv3.HttpConnectionManager) ([]http.Detector, error) {
	list := m.OriginalIpDetectionExtensions
	if len(list) > 0 && (m.GetUseRemoteAddress().GetValue() || m.XffNumTrustedHops > 0) {
		return nil, errors.New("exclude use_remote_address and xff_num_trusted_hops")
	}
	var out []http.Detector
	for i, e := range list {
		d, err := detector(e)
		if err != nil {
			return nil, at(err, "[%d].typed_config", i)
		}
		out = append(out, d)
	}
	return out, nil
}

func detector(m *corev3.TypedExtensionConfig) (http.Detector, error) {
	xff, custom := &xffv3.XffConfig{}, &customv3.CustomHeaderConfig{}
	var d http.Detector
	switch a := m.GetTypedConfig(); {
	case a.MessageIs(xff):
		if err := open(a, xff); err != nil {
			return d, err
		}
		d.Hops, d.Append = int(xff.XffNumTrustedHops), xff.SkipXffAppend != nil && !xff.SkipXffAppend.Value
		if ranges := xff.GetXffTrustedCidrs().GetCidrs(); len(ranges) > 0 {
			if d.Hops > 0 {
				return d, errors.New("xff_num_trusted_hops and xff_trusted_cidrs exclude each other")
			}
			var err error
			d.CIDRs, err = match.Prefixes(ranges)
			return d, at(err, "xff_trusted_cidrs.cidrs")
		}
	case a.MessageIs(custom):
		if err := open(a, custom); err != nil {
			return d, err
		}
		d.Header, d.Trusted = lower(custom.HeaderName), custom.AllowExtensionToSetAddressAsTrusted
		if s := custom.RejectWithStatus; s != nil {
			d.RejectStatus = 403 // as Envoy for what is no error
			if s.Code >= 400 {
				d.RejectStatus = int(s.Code)
			}
		}
	default:
		return d, fmt.Errorf("%s is not supported", a.GetTypeUrl())
	}
	return d, nil
}
