package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filelogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	streamlogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"

	"github.com/weftmesh/weft/proxy/filter"
)

// AccessLog describes an access log.
type AccessLog struct {
	// Path of the file; "/dev/stdout" and "/dev/stderr" are the process's own.
	Path string
	// Format is a line in Envoy's format language, "" with a nil JSON is
	// Envoy's default. JSON is an object whose strings are formats.
	Format string
	JSON   map[string]any
	// OmitEmpty leaves empty values out ("" instead of "-").
	OmitEmpty bool
}

// AccessLogger writes an access log. It must not keep what it is given. Of a
// TCP connection only the parts of a connection are set.
type AccessLogger interface{ Log(i *filter.Info) }

// when decides whether something is logged.
type when func(i *filter.Info) bool

// filtered is an AccessLogger behind a filter.
type filtered struct {
	AccessLogger
	when when
}

// Log implements AccessLogger.
func (l filtered) Log(i *filter.Info) {
	if l.when(i) {
		l.AccessLogger.Log(i)
	}
}

func (d *Decoder) accessLogs(list []*accesslogv3.AccessLog) ([]AccessLogger, error) {
	var out []AccessLogger
	for i, m := range list {
		spec, err := accessLog(m)
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
			w, err := logFilter(m.Filter)
			if err != nil {
				return nil, at(err, "access_log[%d].filter", i)
			}
			l = filtered{l, w}
		}
		out = append(out, l)
	}
	return out, nil
}

func accessLog(m *accesslogv3.AccessLog) (AccessLog, error) {
	a := m.GetTypedConfig()
	file, stdout, stderr := &filelogv3.FileAccessLog{}, &streamlogv3.StdoutAccessLog{}, &streamlogv3.StderrAccessLog{}
	switch {
	case a == nil:
		return AccessLog{}, fmt.Errorf("%q without typed_config is not supported", m.Name)
	case a.MessageIs(file):
		if err := unpack(a, file); err != nil {
			return AccessLog{}, at(err, "typed_config")
		}
		return fileLog(file)
	case a.MessageIs(stdout):
		if err := unpack(a, stdout); err != nil {
			return AccessLog{}, at(err, "typed_config")
		}
		return logFormat("/dev/stdout", stdout.GetLogFormat())
	case a.MessageIs(stderr):
		if err := unpack(a, stderr); err != nil {
			return AccessLog{}, at(err, "typed_config")
		}
		return logFormat("/dev/stderr", stderr.GetLogFormat())
	}
	return AccessLog{}, at(fmt.Errorf("%s is not supported", a.TypeUrl), "typed_config")
}

func fileLog(m *filelogv3.FileAccessLog) (AccessLog, error) {
	l := AccessLog{Path: m.Path}
	switch f := m.AccessLogFormat.(type) {
	case nil:
	case *filelogv3.FileAccessLog_Format:
		l.Format = f.Format
	case *filelogv3.FileAccessLog_JsonFormat:
		l.JSON = f.JsonFormat.AsMap()
	case *filelogv3.FileAccessLog_TypedJsonFormat:
		l.JSON = f.TypedJsonFormat.AsMap()
	case *filelogv3.FileAccessLog_LogFormat:
		return logFormat(m.Path, f.LogFormat)
	default:
		return l, at(fmt.Errorf("%T is not supported", f), "typed_config")
	}
	return l, nil
}

func logFormat(path string, m *corev3.SubstitutionFormatString) (AccessLog, error) {
	l := AccessLog{Path: path, OmitEmpty: m.GetOmitEmptyValues()}
	switch f := m.GetFormat().(type) {
	case nil:
	case *corev3.SubstitutionFormatString_TextFormat:
		l.Format = f.TextFormat
	case *corev3.SubstitutionFormatString_JsonFormat:
		l.JSON = f.JsonFormat.AsMap()
	case *corev3.SubstitutionFormatString_TextFormatSource:
		b, err := data(f.TextFormatSource)
		l.Format = string(b)
		return l, at(err, "typed_config.log_format.text_format_source")
	default:
		return l, at(fmt.Errorf("%T is not supported", f), "typed_config.log_format")
	}
	return l, nil
}

func logFilter(m *accesslogv3.AccessLogFilter) (when, error) {
	switch f := m.FilterSpecifier.(type) {
	case *accesslogv3.AccessLogFilter_ResponseFlagFilter:
		return flagFilter(f.ResponseFlagFilter.Flags)
	case *accesslogv3.AccessLogFilter_StatusCodeFilter:
		cmp, err := comparison(f.StatusCodeFilter.Comparison)
		return func(i *filter.Info) bool { return cmp(uint64(i.Status)) }, at(err, "status_code_filter.comparison")
	case *accesslogv3.AccessLogFilter_DurationFilter:
		cmp, err := comparison(f.DurationFilter.Comparison)
		return func(i *filter.Info) bool { return cmp(uint64(i.Duration.Milliseconds())) }, at(err, "duration_filter.comparison")
	case *accesslogv3.AccessLogFilter_NotHealthCheckFilter:
		// Envoy's health-check filter marks requests as such; it is refused, so none is.
		return func(*filter.Info) bool { return true }, nil
	case *accesslogv3.AccessLogFilter_AndFilter:
		all, err := logFilters(f.AndFilter.Filters)
		return func(i *filter.Info) bool { return !slices.ContainsFunc(all, func(w when) bool { return !w(i) }) }, at(err, "and_filter")
	case *accesslogv3.AccessLogFilter_OrFilter:
		all, err := logFilters(f.OrFilter.Filters)
		return func(i *filter.Info) bool { return slices.ContainsFunc(all, func(w when) bool { return w(i) }) }, at(err, "or_filter")
	default:
		return nil, fmt.Errorf("%T is not supported", f)
	}
}

func logFilters(list []*accesslogv3.AccessLogFilter) ([]when, error) {
	var out []when
	for i, m := range list {
		w, err := logFilter(m)
		if err != nil {
			return nil, at(err, "filters[%d]", i)
		}
		out = append(out, w)
	}
	return out, nil
}

func flagFilter(names []string) (when, error) {
	if len(names) == 0 {
		return func(i *filter.Info) bool { return i.Flags != 0 }, nil
	}
	var want filter.ResponseFlags
	for i, n := range names {
		flag := flagByName(n)
		if flag == 0 {
			return nil, at(fmt.Errorf("%q is not supported", n), "response_flag_filter.flags[%d]", i)
		}
		want |= flag
	}
	return func(i *filter.Info) bool { return i.Flags&want != 0 }, nil
}

// flagByName finds a response flag by its short name.
func flagByName(name string) filter.ResponseFlags {
	for flag := filter.ResponseFlags(1); flag != 0; flag <<= 1 {
		if s := flag.String(); s == name && !strings.Contains(s, ",") {
			return flag
		}
	}
	return 0
}

func comparison(m *accesslogv3.ComparisonFilter) (func(uint64) bool, error) {
	v := uint64(m.GetValue().GetDefaultValue())
	switch m.GetOp() {
	case accesslogv3.ComparisonFilter_EQ:
		return func(n uint64) bool { return n == v }, nil
	case accesslogv3.ComparisonFilter_GE:
		return func(n uint64) bool { return n >= v }, nil
	case accesslogv3.ComparisonFilter_LE:
		return func(n uint64) bool { return n <= v }, nil
	case accesslogv3.ComparisonFilter_NE:
		return func(n uint64) bool { return n != v }, nil
	}
	return nil, at(fmt.Errorf("%v is not supported", m.GetOp()), "op")
}
