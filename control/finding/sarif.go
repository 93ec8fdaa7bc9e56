package finding

import (
	"encoding/json"
	"io"
	"path/filepath"

	"github.com/weftmesh/weft/control/model"
)

// The parts of SARIF 2.1.0 that a report needs (docs.oasis-open.org/sarif).
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool struct {
			Driver sarifDriver `json:"driver"`
		} `json:"tool"`
		Results []sarifResult `json:"results"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID    string    `json:"id"`
		Short sarifText `json:"shortDescription"`
		Help  sarifText `json:"help"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		Rule      string          `json:"ruleId"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations,omitempty"`
	}
	sarifLocation struct {
		Physical struct {
			Artifact struct {
				URI string `json:"uri"`
			} `json:"artifactLocation"`
			Region struct {
				Line int `json:"startLine"`
			} `json:"region"`
		} `json:"physicalLocation"`
	}
)

// levels are SARIF's words for severities.
var levels = map[model.Severity]string{model.Info: "note", model.Warning: "warning", model.Error: "error"}

// SARIF writes the report in the form that code hosts show beside the lines of files.
func (r *Report) SARIF(w io.Writer, version string) error {
	run := sarifRun{Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{Name: "weft analyze", Version: version}
	for _, c := range codes {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{c.ID, sarifText{c.Meaning}, sarifText{c.Remedy}})
	}
	for _, f := range r.list {
		x := sarifResult{Rule: f.Code, Level: levels[f.Severity]}
		at := f.Origin
		f.Origin = model.Origin{} // the location says it
		x.Message.Text = f.String()
		if at.File != "" {
			var l sarifLocation
			l.Physical.Artifact.URI, l.Physical.Region.Line = filepath.ToSlash(at.File), max(1, at.Line)
			x.Locations = append(x.Locations, l)
		}
		run.Results = append(run.Results, x)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(sarifLog{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{run}})
}
