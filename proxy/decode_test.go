package proxy_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// decoded is a body whose content-encoding has been taken off.
func decoded(t *testing.T, encoding string, b []byte) string {
	t.Helper()
	var r io.Reader
	var err error
	switch encoding {
	case "gzip":
		r, err = gzip.NewReader(bytes.NewReader(b))
	case "br":
		r = brotli.NewReader(bytes.NewReader(b))
	case "zstd":
		z, e := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1))
		if e == nil {
			defer z.Close()
		}
		r, err = z, e
	default:
		return fmt.Sprintf("%d bytes of %s", len(b), encoding)
	}
	if err != nil {
		return "does not decode: " + err.Error()
	}
	out, err := io.ReadAll(r)
	if err != nil {
		return "does not decode: " + err.Error()
	}
	return fmt.Sprintf("%s: %s", encoding, summary(out))
}

// printable escapes what is no text.
func printable(b []byte) string {
	if strings.ContainsFunc(string(b), func(r rune) bool { return r < ' ' && r != '\n' || r == 0xfffd }) {
		return strconv.Quote(string(b))
	}
	return string(b)
}

func summary(b []byte) string {
	if len(b) > 1000 {
		return fmt.Sprintf("%d bytes %.20s…", len(b), b)
	}
	return string(b)
}

func gzipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.String()
}
