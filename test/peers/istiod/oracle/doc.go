// Package oracle gives the same configuration to istiod and to Weft's control plane and
// tells in what the answers differ.
//
// A case of the corpus (testdata/corpus, one archive each) is a mesh of Istio's objects
// and one edit of it. Collect asks a control plane for what some node gets, over ADS in
// plain text; NewForm brings that to a flat semantic form, path by path; Compare lists
// where two forms differ. What differs in writing only (rules.go, each with its reason)
// is gone by then. What differs in substance is in docs/ISTIO_DIFFERENCES.md, each with
// its cause, and the test holds that list against what is found: a difference that is
// not listed is an error, and so is a listed one that no longer occurs.
//
// The comparison can fail, and `make test` shows it without istiod: each case compared
// with itself has no difference, and has one after its edit.
//
// It compares configuration, not behaviour: that the same configuration does the same
// is for test/peers/envoy to show. Secrets, names for DNS and workloads are not compared.
package oracle
