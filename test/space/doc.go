// Package space gives tests network namespaces that are cabled together. It needs root;
// without it tests are skipped.
package space
