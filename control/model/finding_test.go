package model_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/model"
)

// TestFindingAsJSON: scripts read it, as `weft status -o json` prints it.
func TestFindingAsJSON(t *testing.T) {
	f := model.Finding{
		Code: "WEFT0103", Severity: model.Warning, Object: model.Key{Kind: model.KindService, Namespace: "default", Name: "web"},
		Origin: model.Origin{Source: "file", File: "a.yaml", Line: 3}, Field: "spec.ports", Message: "is wrong", Remedy: "mend it",
	}
	got, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"code":"WEFT0103","severity":"warning","object":{"kind":"Service","namespace":"default","name":"web"},` +
		`"origin":{"source":"file","file":"a.yaml","line":3},"field":"spec.ports","message":"is wrong","remedy":"mend it"}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	var back model.Finding
	if err := json.Unmarshal(got, &back); err != nil || back != f {
		t.Errorf("%v: %+v, want %+v", err, back, f)
	}
	if json.Unmarshal([]byte(`{"severity":"awful"}`), &back) == nil {
		t.Error("an unknown severity was read")
	}
}
