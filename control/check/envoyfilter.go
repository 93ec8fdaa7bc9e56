package check

import (
	"fmt"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/patch"
)

// envoyFilters judges EnvoyFilters: whom they are for, whether Envoy takes their
// values, and what proxies have refused of them.
func (c *checker) envoyFilters(read *patch.Compiler) {
	known := map[model.Key]*model.EnvoyFilter{}
	versioned := map[string]bool{}
	for _, f := range c.s.EnvoyFilters {
		known[f.Key] = f
		if f.Gateways == nil {
			c.selector(&f.Meta, f.Selector, "spec.workloadSelector.labels", nil)
		}
		if f.Fields == nil { // what Istio's rules are about
			c.operations(f, versioned)
		}
		if f.Key.Kind == model.KindWasmPlugin || f.Key.Kind == model.KindTrafficExtension {
			c.targeted(&f.Meta, f.Selector)
		}
		c.findings = append(c.findings, read.Check(f)...)
	}
	for _, q := range c.s.Quarantines {
		f := known[q.Filter]
		if f == nil || f.Hash != q.Version || q.Index >= len(f.Patches) {
			continue
		}
		at := f.Field(q.Index)
		if q.Suspect {
			c.warn(CodeQuarantine, &f.Meta, at, fmt.Sprintf(
				"is kept from proxies with the engine %s until it is known whether it is what they refuse: %s", q.Engine, q.Reason), "")
			continue
		}
		c.fail(CodeQuarantine, &f.Meta, at, fmt.Sprintf("is kept from proxies with the engine %s, which refuse what comes of it: %s", q.Engine, q.Reason),
			"change it; until then the other patches apply without it")
	}
}
