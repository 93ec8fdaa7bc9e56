package compress

import (
	"errors"
	"fmt"
	"strings"

	brotlic "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/brotli/compressor/v3"
	brotlid "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/brotli/decompressor/v3"
	gzipc "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/gzip/compressor/v3"
	gzipd "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/gzip/decompressor/v3"
	zstdc "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/zstd/compressor/v3"
	zstdd "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/zstd/decompressor/v3"
	compressorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/compressor/v3"
	decompressorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/decompressor/v3"
	"github.com/klauspost/compress/gzip"
	"google.golang.org/protobuf/types/known/anypb"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/runtime"
	"github.com/weftmesh/weft/proxy/http/match"
)

const (
	tCompressor   = "envoy.extensions.filters.http.compressor.v3."
	tDecompressor = "envoy.extensions.filters.http.decompressor.v3."
	tCompression  = "envoy.extensions.compression."
)

// CompressorKind describes envoy.filters.http.compressor.
func CompressorKind() filter.HTTPKind {
	return filter.HTTPKind{
		Name:       CompressorName,
		TypeURLs:   []string{"type.googleapis.com/" + tCompressor + "Compressor", "type.googleapis.com/" + tCompressor + "CompressorPerRoute"},
		Parse:      parseCompressor,
		ParseRoute: parsePerRoute,
	}
}

// DecompressorKind describes envoy.filters.http.decompressor.
func DecompressorKind() filter.HTTPKind {
	return filter.HTTPKind{
		Name: DecompressorName, TypeURLs: []string{"type.googleapis.com/" + tDecompressor + "Decompressor"}, Parse: parseDecompressor,
	}
}

var supported = strict.Table{
	tCompressor + "Compressor": "content_length content_type disable_on_etag_header remove_accept_encoding_header runtime_enabled " +
		"compressor_library request_direction_config response_direction_config choose_first",
	tCompressor + "Compressor.CommonDirectionConfig":  "enabled min_content_length content_type",
	tCompressor + "Compressor.RequestDirectionConfig": "common_config",
	tCompressor + "Compressor.ResponseDirectionConfig": "common_config disable_on_etag_header weaken_etag_on_compress " +
		"remove_accept_encoding_header uncompressible_response_codes status_header_enabled=false",
	tCompressor + "CompressorPerRoute":                     "disabled overrides",
	tCompressor + "CompressorOverrides":                    "response_direction_config",
	tCompressor + "ResponseDirectionOverrides":             "remove_accept_encoding_header",
	tDecompressor + "Decompressor":                         "decompressor_library request_direction_config response_direction_config",
	tDecompressor + "Decompressor.CommonDirectionConfig":   "enabled ignore_no_transform_header",
	tDecompressor + "Decompressor.RequestDirectionConfig":  "common_config advertise_accept_encoding",
	tDecompressor + "Decompressor.ResponseDirectionConfig": "common_config",
	"envoy.config.core.v3.TypedExtensionConfig":            "name typed_config",
	"envoy.config.core.v3.RuntimeFeatureFlag":              "default_value runtime_key",
	tCompression + "gzip.compressor.v3.Gzip":               "memory_level compression_level compression_strategy=DEFAULT_STRATEGY window_bits chunk_size",
	tCompression + "gzip.decompressor.v3.Gzip":             "window_bits chunk_size max_inflate_ratio",
	tCompression + "brotli.compressor.v3.Brotli":           "quality encoder_mode=DEFAULT window_bits input_block_bits chunk_size",
	tCompression + "brotli.decompressor.v3.Brotli":         "chunk_size disable_ring_buffer_reallocation",
	tCompression + "zstd.compressor.v3.Zstd":               "compression_level enable_checksum strategy=DEFAULT chunk_size",
	tCompression + "zstd.decompressor.v3.Zstd":             "chunk_size",
}

func parseCompressor(ctx *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
	m := &compressorv3.Compressor{}
	if err := match.Open(a, m, supported); err != nil {
		return nil, err
	}
	lib, err := compressorOf(m.CompressorLibrary)
	if err != nil {
		return nil, fmt.Errorf("compressor_library.typed_config: %w", err)
	}
	f := &compressor{name: ctx.FilterName, library: lib, first: m.ChooseFirst}
	prefix := "compressor." + m.CompressorLibrary.GetName() + "." + lib.name + "."
	f.countChoice(ctx, prefix)
	if r := m.RequestDirectionConfig; r != nil {
		f.request = compressDirection(ctx, r.CommonConfig)
	}
	f.request.count(ctx, prefix+"request.")
	if r := m.ResponseDirectionConfig; r != nil {
		f.response = compressDirection(ctx, r.CommonConfig)
		f.etagOff, f.weaken, f.dropAccept = r.DisableOnEtagHeader, r.WeakenEtagOnCompress, r.RemoveAcceptEncodingHeader
		for _, c := range r.UncompressibleResponseCodes {
			f.codesOff = append(f.codesOff, int(c))
		}
		prefix += "response."
	} else { // as it was written once
		f.response = compressDirection(ctx, &compressorv3.Compressor_CommonDirectionConfig{
			MinContentLength: m.ContentLength, ContentType: m.ContentType, Enabled: m.RuntimeEnabled, //nolint:staticcheck // deprecated, not gone
		})
		f.etagOff, f.dropAccept = m.DisableOnEtagHeader, m.RemoveAcceptEncodingHeader //nolint:staticcheck // see above
	}
	f.response.count(ctx, prefix)
	return f, nil
}

func compressDirection(ctx *filter.ParseContext, m *compressorv3.Compressor_CommonDirectionConfig) direction {
	d := direction{enabled: match.Flag(ctx, m.GetEnabled()), min: 30, types: m.GetContentType()}
	if m.GetMinContentLength() != nil {
		d.min = uint64(m.MinContentLength.Value)
	}
	if len(d.types) == 0 {
		d.types = defaultTypes
	}
	return d
}

// perRoute is a route's configuration.
type perRoute struct{ enabled, dropAccept *bool }

func parsePerRoute(_ *filter.ParseContext, a *anypb.Any) (any, error) {
	m := &compressorv3.CompressorPerRoute{}
	if err := match.Open(a, m, supported); err != nil {
		return nil, err
	}
	on, off := true, false
	p := &perRoute{}
	if m.GetDisabled() {
		p.enabled = &off
	} else if r := m.GetOverrides().GetResponseDirectionConfig(); r != nil {
		p.enabled = &on
		if r.RemoveAcceptEncodingHeader != nil {
			p.dropAccept = &r.RemoveAcceptEncodingHeader.Value
		}
	}
	return p, nil
}

func compressorOf(m *corev3.TypedExtensionConfig) (*library, error) {
	c, err := m.GetTypedConfig().UnmarshalNew()
	if err != nil {
		return nil, err
	}
	switch c := c.(type) {
	case *gzipc.Gzip:
		level := gzip.DefaultCompression
		switch l := c.CompressionLevel; l {
		case gzipc.Gzip_DEFAULT_COMPRESSION:
		default:
			level = int(l) // the enumeration has the levels' numbers
		}
		return gzipLibrary(level), nil
	case *brotlic.Brotli:
		quality, window := 3, 18
		if c.Quality != nil {
			quality = int(c.Quality.Value)
		}
		if c.WindowBits != nil {
			window = int(c.WindowBits.Value)
		}
		return brotliLibrary(quality, window), nil
	case *zstdc.Zstd:
		level := 3
		if c.CompressionLevel != nil {
			level = int(c.CompressionLevel.Value)
		}
		return zstdLibrary(level, c.EnableChecksum), nil
	}
	return nil, fmt.Errorf("%s is not supported", m.GetTypedConfig().GetTypeUrl())
}

func parseDecompressor(ctx *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
	m := &decompressorv3.Decompressor{}
	if err := match.Open(a, m, supported); err != nil {
		return nil, err
	}
	c, err := m.DecompressorLibrary.GetTypedConfig().UnmarshalNew()
	if err != nil {
		return nil, fmt.Errorf("decompressor_library.typed_config: %w", err)
	}
	f := &decompressor{ratio: maxRatio, advertise: true}
	switch c := c.(type) {
	case *gzipd.Gzip:
		f.library = gzipLibrary(gzip.DefaultCompression)
		if c.MaxInflateRatio != nil {
			f.ratio = uint64(c.MaxInflateRatio.Value)
		}
	case *brotlid.Brotli:
		f.library = brotliLibrary(0, 18)
	case *zstdd.Zstd:
		f.library = zstdLibrary(3, false)
	default:
		return nil, errors.New("decompressor_library.typed_config: " + m.DecompressorLibrary.GetTypedConfig().GetTypeUrl() + " is not supported")
	}
	prefix := "decompressor." + m.DecompressorLibrary.GetName() + "." + f.library.name + "."
	f.trailer = "x-envoy-decompressor-" + strings.ToLower(m.DecompressorLibrary.GetName()) + "-"
	on := runtime.Flag{Default: true}
	f.request, f.response = plainWay{on: on}, plainWay{on: on}
	if r := m.RequestDirectionConfig; r != nil {
		f.request = plainWay{on: match.Flag(ctx, r.CommonConfig.GetEnabled()), always: r.CommonConfig.GetIgnoreNoTransformHeader()}
		if r.AdvertiseAcceptEncoding != nil {
			f.advertise = r.AdvertiseAcceptEncoding.Value
		}
	}
	if r := m.ResponseDirectionConfig; r != nil {
		f.response = plainWay{on: match.Flag(ctx, r.CommonConfig.GetEnabled()), always: r.CommonConfig.GetIgnoreNoTransformHeader()}
	}
	f.request.count(ctx, prefix+"request.")
	f.response.count(ctx, prefix+"response.")
	return f, nil
}
