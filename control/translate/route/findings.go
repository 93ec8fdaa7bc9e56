package route

// Codes of Findings.
const (
	CodeNoAction = "WEFT0310" // a route without any action
	CodeGRPC     = "WEFT0311" // an unknown gRPC status name
	CodeHost     = "WEFT0312" // a host that another route set already has
	// CodeConversion: requests of HTTP would have to become those of a protocol that they cannot become.
	CodeConversion = "WEFT0313"
)
