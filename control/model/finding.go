package model

import (
	"fmt"
	"slices"
	"strings"
)

// Severity of a Finding.
type Severity uint8

// Severities, worst last.
const (
	Info Severity = iota
	Warning
	Error
)

// String returns "info", "warning" or "error".
func (s Severity) String() string { return severities[s] }

var severities = [...]string{"info", "warning", "error"}

// MarshalText writes the name, for JSON and YAML.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a name.
func (s *Severity) UnmarshalText(text []byte) error {
	i := slices.Index(severities[:], string(text))
	if i < 0 {
		return fmt.Errorf("severity %q: want one of %s", text, strings.Join(severities[:], ", "))
	}
	*s = Severity(i) //nolint:gosec // an index of severities
	return nil
}

// Finding is one thing a user should know about one object. It is never an
// error value: an object with a Finding does not stop any other.
type Finding struct {
	// Code is stable and greppable, e.g. "WEFT0103"; see findings.go of the
	// package that makes it.
	Code     string   `json:"code,omitempty"`
	Severity Severity `json:"severity"`
	Object   Key      `json:"object"`
	Origin   Origin   `json:"origin"`
	// Field is the path of the field at fault, e.g. "spec.http[0].route[1].destination.host".
	Field string `json:"field,omitempty"`
	// Message says what is wrong; Remedy what to do about it.
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
}

// String returns one line: "file:line: Kind ns/name: field: message (remedy)".
func (f Finding) String() string {
	var b strings.Builder
	if o := f.Origin.String(); o != "" {
		b.WriteString(o + ": ")
	}
	switch {
	case f.Object.Kind != "" && f.Object.Name == "":
		b.WriteString(string(f.Object.Kind) + ": ")
	case f.Object.Kind != "":
		b.WriteString(f.Object.Title() + ": ")
	}
	if f.Field != "" {
		b.WriteString(f.Field + ": ")
	}
	b.WriteString(f.Message)
	if f.Remedy != "" {
		b.WriteString(" (" + f.Remedy + ")")
	}
	return b.String()
}
