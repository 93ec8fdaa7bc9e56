package hpack

// known returns the first entry of the static table with that name, 0: none or none that
// is worth a look, and whether the name is one whose value comes again and again on one connection.
func known(name string) (static uint8, again bool) {
	switch name {
	case ":authority":
		return 1, true
	case ":method":
		return 2, true
	case ":path":
		return 4, false
	case ":scheme":
		return 6, true
	case "accept-encoding":
		return 16, true
	case "accept-language":
		return 17, true
	case "accept":
		return 19, true
	case "authorization":
		return 23, false
	case "cache-control":
		return 24, true
	case "content-encoding":
		return 26, true
	case "content-length":
		return 28, false
	case "content-type":
		return 31, true
	case "cookie":
		return 32, false
	case "date":
		return 33, false
	case "etag":
		return 34, false
	case "last-modified":
		return 44, false
	case "location":
		return 46, false
	case "server":
		return 54, true
	case "set-cookie":
		return 55, false
	case "user-agent":
		return 58, true
	case "vary":
		return 59, true
	case "via":
		return 60, true
	case ":protocol", "grpc-accept-encoding", "grpc-encoding", "grpc-status", "te", "x-envoy-attempt-count",
		"x-envoy-decorator-operation", "x-envoy-internal", "x-forwarded-client-cert", "x-forwarded-proto":
		return 0, true
	}
	return 0, false
}

// staticValue returns the static table's entry with that value, 0: none. static is
// the first of the name.
func staticValue(static uint8, value string) byte {
	switch {
	case static == 2 && value == "GET":
		return 2
	case static == 2 && value == "POST":
		return 3
	case static == 6 && value == "http":
		return 6
	case static == 6 && value == "https":
		return 7
	case static == 16 && value == "gzip, deflate":
		return 16
	}
	return 0
}
