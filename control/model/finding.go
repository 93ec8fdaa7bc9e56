package model

import "strings"

// Severity of a Finding.
type Severity uint8

// Severities, worst last.
const (
	Info Severity = iota
	Warning
	Error
)

// String returns "info", "warning" or "error".
func (s Severity) String() string { return [...]string{"info", "warning", "error"}[s] }

// Finding is one thing a user should know about one object. It is never an
// error value: an object with a Finding does not stop any other.
type Finding struct {
	// Code is stable and greppable, e.g. "WEFT0103"; see findings.go of the
	// package that makes it.
	Code     string
	Severity Severity
	Object   Key
	Origin   Origin
	// Field is the path of the field at fault, e.g. "spec.http[0].route[1].destination.host".
	Field string
	// Message says what is wrong; Remedy what to do about it.
	Message string
	Remedy  string
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
