//go:build !linux

package proxy

import "context"

// trim does nothing here.
func (r *runtime) trim(context.Context) error { return nil }
