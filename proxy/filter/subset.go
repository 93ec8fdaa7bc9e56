package filter

import (
	"maps"
	"slices"
	"strings"
)

// SubsetKey is the canonical form of a set of endpoint labels: how routes name
// a subset to a cluster without allocating per request. "" stands for no labels.
func SubsetKey(labels map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		b.WriteString(k)
		b.WriteByte(0)
		b.WriteString(labels[k])
		b.WriteByte(0)
	}
	return b.String()
}
