// Package handover tests that one proxy replaces another without cutting
// anything: with the real binary, under mixed load, counted at both ends.
package handover
