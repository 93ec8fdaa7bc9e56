package config

import (
	"errors"
	"fmt"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filelogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	streamlogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
)

// AccessLog describes an access log. Exactly one of Path, GRPC and OTLP is set.
type AccessLog struct {
	// Path of the file; "/dev/stdout" and "/dev/stderr" are the process's own.
	Path string
	// Format is a line in Envoy's format language, "" with a nil JSON is
	// Envoy's default. JSON is an object whose strings are formats.
	Format string
	JSON   map[string]any
	// OmitEmpty leaves empty values out ("" instead of "-").
	OmitEmpty bool

	GRPC *GRPCLog
	OTLP *OTLPLog
}

// AccessLogger writes an access log. It must not keep what it is given. Of a
// TCP connection only the parts of a connection are set.
type AccessLogger interface{ Log(i *filter.Info) }

func (d *Decoder) accessLogs(list []*accesslogv3.AccessLog) ([]AccessLogger, error) {
	var out []AccessLogger
	for i, m := range list {
		spec, err := d.accessLog(m)
		if err != nil {
			return nil, at(err, "access_log[%d]", i)
		}
		if d.AccessLog == nil {
			return nil, at(errors.New("this proxy writes no access logs"), "access_log[%d]", i)
		}
		l, err := d.AccessLog(spec)
		if err != nil {
			return nil, at(err, "access_log[%d].typed_config", i)
		}
		if m.Filter != nil {
			w, err := d.logFilter(m.Filter)
			if err != nil {
				return nil, at(err, "access_log[%d].filter", i)
			}
			l = filtered{l, w}
		}
		out = append(out, l)
	}
	return out, nil
}

func (d *Decoder) accessLog(m *accesslogv3.AccessLog) (AccessLog, error) {
	a := m.GetTypedConfig()
	file, stdout, stderr := &filelogv3.FileAccessLog{}, &streamlogv3.StdoutAccessLog{}, &streamlogv3.StderrAccessLog{}
	var l AccessLog
	var err error
	switch {
	case a == nil:
		return l, fmt.Errorf("%q without typed_config is not supported", m.Name)
	case a.MessageIs(file):
		if err = unpack(a, file); err == nil {
			l, err = fileLog(file)
		}
	case a.MessageIs(stdout):
		if err = unpack(a, stdout); err == nil {
			l, err = logFormat("/dev/stdout", stdout.GetLogFormat())
		}
	case a.MessageIs(stderr):
		if err = unpack(a, stderr); err == nil {
			l, err = logFormat("/dev/stderr", stderr.GetLogFormat())
		}
	default:
		l, err = remoteLog(a)
	}
	return l, at(err, "typed_config")
}

func fileLog(m *filelogv3.FileAccessLog) (AccessLog, error) {
	l := AccessLog{Path: m.Path}
	switch f := m.AccessLogFormat.(type) {
	case nil:
	case *filelogv3.FileAccessLog_Format:
		l.Format = f.Format
	case *filelogv3.FileAccessLog_TypedJsonFormat:
		l.JSON = object(f.TypedJsonFormat)
	case *filelogv3.FileAccessLog_LogFormat:
		return logFormat(m.Path, f.LogFormat)
	default:
		return l, fmt.Errorf("%T is not supported", f)
	}
	return l, nil
}

func logFormat(path string, m *corev3.SubstitutionFormatString) (AccessLog, error) {
	l := AccessLog{Path: path}
	f, err := substitution(m)
	l.Format, l.JSON, l.OmitEmpty = f.text, f.json, f.omitEmpty
	return l, at(err, "log_format")
}

// substitutionFormat is a format string or a JSON object of such.
type substitutionFormat struct {
	text, contentType string
	json              map[string]any
	omitEmpty         bool
}

func substitution(m *corev3.SubstitutionFormatString) (f substitutionFormat, err error) {
	f.omitEmpty, f.contentType = m.GetOmitEmptyValues(), m.GetContentType()
	if err := checkFormatters(m.GetFormatters()); err != nil {
		return f, err
	}
	switch s := m.GetFormat().(type) {
	case nil:
	case *corev3.SubstitutionFormatString_TextFormat:
		f.text = s.TextFormat
	case *corev3.SubstitutionFormatString_JsonFormat:
		f.json = object(s.JsonFormat)
	case *corev3.SubstitutionFormatString_TextFormatSource:
		b, err := match.Data(s.TextFormatSource)
		f.text = string(b)
		return f, at(err, "text_format_source")
	default:
		return f, fmt.Errorf("%T is not supported", s)
	}
	return f, nil
}

// object is never nil: an empty object is a format too.
func object(s *structpb.Struct) map[string]any {
	if len(s.GetFields()) == 0 {
		return map[string]any{}
	}
	return s.AsMap()
}
