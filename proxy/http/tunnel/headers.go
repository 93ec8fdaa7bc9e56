package tunnel

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/weftmesh/weft/proxy/filter"
)

// headers are what a proxy answered, for those who come after.
type headers struct{ fields []filter.Field }

func propagated(h *filter.Headers) *headers {
	c := &headers{}
	if h.Status != 0 {
		c.fields = append(c.fields, filter.Field{Name: ":status", Value: strconv.Itoa(h.Status)})
	}
	for i := range h.Len() {
		f := h.At(i)
		c.fields = append(c.fields, filter.Field{Name: string([]byte(f.Name)), Value: string([]byte(f.Value))}) // they are borrowed
	}
	return c
}

// AppendJSON appends the fields as %FILTER_STATE% writes them.
func (c *headers) AppendJSON(dst []byte) []byte {
	type field struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	}
	list := make([]field, 0, len(c.fields))
	for _, f := range c.fields {
		list = append(list, field{f.Name, f.Value})
	}
	b, err := json.Marshal(map[string]any{"headers": list})
	if err != nil {
		panic("BUG: tunnel: " + err.Error())
	}
	return append(dst, b...)
}

// newID makes a version 4 UUID.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
