package jwks

import (
	"encoding/json"

	"github.com/weftmesh/weft/control/model"
)

// file is the name of the file in Options.Dir.
const file = "jwks.json"

// entry is a saved key set.
type entry struct {
	URI    string `json:"uri,omitempty"`
	Issuer string `json:"issuer,omitempty"`
	JWKS   string `json:"jwks"`
}

// unmarshal reads what was saved, and leaves out what has no key that can be used.
func unmarshal(raw []byte) (map[model.KeySource]string, error) {
	var list []entry
	err := json.Unmarshal(raw, &list)
	out := map[model.KeySource]string{}
	for _, e := range list {
		if n, _, err := Check(e.JWKS); err == nil && n > 0 {
			out[model.KeySource{URI: e.URI, Issuer: e.Issuer}] = e.JWKS
		}
	}
	return out, err
}

// marshal is the value of the file.
func marshal(all map[model.KeySource]string) any {
	list := []entry{}
	for from, jwks := range all {
		list = append(list, entry{URI: from.URI, Issuer: from.Issuer, JWKS: jwks})
	}
	return list
}
