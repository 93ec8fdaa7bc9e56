package model

import "time"

// RateLimits bound the requests that each instance of a service takes.
type RateLimits struct {
	// Local has a bucket for each match; the first that matches counts, the last may be for all that is left.
	Local []LocalLimit
	// Global asks a service; nil: none.
	Global *GlobalLimit
}

// LocalLimit is a token bucket for the requests that match; Match nil: all.
type LocalLimit struct {
	Match   *Match
	Max     uint32
	PerFill uint32
	Every   time.Duration
}

// GlobalLimit asks a service of Envoy's rate limit protocol about the requests that match; Match nil: all.
type GlobalLimit struct {
	Domain string
	Match  *Match
	// Host and Port are the service that is asked.
	Host    string
	Port    uint16
	Timeout time.Duration
	// Deny: requests are refused while nobody answers.
	Deny        bool
	Descriptors []LimitDescriptor
}

// LimitDescriptor is a field of requests whose value goes to the service under a key.
type LimitDescriptor struct {
	Condition // without a value: which field
	Key       string
}
