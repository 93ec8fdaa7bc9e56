package jwks

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

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

// saved reads what was saved. A file that cannot be read is as good as none.
func (s *Source) saved() map[model.KeySource]string {
	out := map[model.KeySource]string{}
	if s.opts.Dir == "" {
		return out
	}
	raw, err := os.ReadFile(filepath.Join(s.opts.Dir, file))
	var list []entry
	if err == nil {
		err = json.Unmarshal(raw, &list)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("the saved keys of tokens cannot be read", "error", err)
	}
	for _, e := range list {
		if n, _, err := Check(e.JWKS); err == nil && n > 0 {
			out[model.KeySource{URI: e.URI, Issuer: e.Issuer}] = e.JWKS
		}
	}
	return out
}

// save writes all that is known, whole or not at all.
func (s *Source) save() {
	if s.opts.Dir == "" {
		return
	}
	list := []entry{}
	for from, k := range s.sets {
		if k.jwks != "" {
			list = append(list, entry{URI: from.URI, Issuer: from.Issuer, JWKS: k.jwks})
		}
	}
	raw, err := json.MarshalIndent(list, "", " ")
	if err != nil {
		panic("BUG: saved keys: " + err.Error())
	}
	name := filepath.Join(s.opts.Dir, file)
	if err = os.WriteFile(name+".new", raw, 0o600); err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		s.log.Warn("the keys of tokens cannot be saved", "error", err)
	}
}
