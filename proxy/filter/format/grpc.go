package format

import (
	"fmt"
	"strconv"

	"github.com/weftmesh/weft/proxy/filter"
)

// Names of gRPC status codes in Envoy's three spellings.
var (
	grpcCamel = [...]string{
		"OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
		"PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange",
		"Unimplemented", "Internal", "Unavailable", "DataLoss", "Unauthenticated",
	}
	grpcSnake = [...]string{
		"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
		"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
		"UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
	}
)

// grpcStatus compiles GRPC_STATUS(CAMEL_STRING | SNAKE_STRING | NUMBER).
func grpcStatus(form string) (value, error) {
	names := grpcCamel
	switch form {
	case "", "CAMEL_STRING":
	case "SNAKE_STRING":
		names = grpcSnake
	case "NUMBER":
	default:
		return nil, fmt.Errorf("format command %%GRPC_STATUS(%s)%%: the argument must be CAMEL_STRING, SNAKE_STRING or NUMBER", form)
	}
	return func(dst []byte, i *filter.Info) ([]byte, bool) {
		if !i.GRPC {
			return dst, false
		}
		s, ok := lookup(i.Trailers, "grpc-status", "")
		if !ok {
			if s, ok = lookup(i.Response, "grpc-status", ""); !ok {
				if i.Status == 0 {
					return dst, false
				}
				n := filter.GRPCOfHTTP(i.Status)
				if form == "NUMBER" {
					return strconv.AppendInt(dst, int64(n), 10), true
				}
				return append(dst, names[n]...), true
			}
		}
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil || form == "NUMBER" || n >= uint64(len(names)) {
			return append(dst, s...), true
		}
		return append(dst, names[n]...), true
	}, nil
}

// GRPCStatusOf is the gRPC status that access log filters see: that of trailers
// or head, else what the HTTP status means to a gRPC client.
func GRPCStatusOf(i *filter.Info) int {
	s, ok := lookup(i.Trailers, "grpc-status", "")
	if !ok {
		s, ok = lookup(i.Response, "grpc-status", "")
	}
	if n, err := strconv.Atoi(s); ok && err == nil {
		return n
	}
	return filter.GRPCOfHTTP(i.Status)
}
