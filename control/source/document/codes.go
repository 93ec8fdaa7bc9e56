package document

// Codes of the Findings that sources make. They are stable: people grep for
// them and suppress by them. control/source/jwks has WEFT0116, control/check 02xx.
const (
	CodeSyntax    = "WEFT0101" // not YAML
	CodeText      = "WEFT0102" // not text, too large, unreadable
	CodeNoKind    = "WEFT0103" // no apiVersion or kind
	CodeKind      = "WEFT0104" // unknown kind or API version
	CodeField     = "WEFT0105" // unknown field
	CodeType      = "WEFT0106" // value of the wrong type
	CodeValue     = "WEFT0107" // value out of range or malformed
	CodeMissing   = "WEFT0108" // required field absent
	CodeDuplicate = "WEFT0109" // the same object twice
	CodeTwice     = "WEFT0110" // the same field twice
	CodeRefused   = "WEFT0111" // known, but not carried out: object refused
	CodeIgnored   = "WEFT0112" // known, but not carried out: field or kind passed over
	CodeElsewhere = "WEFT0113" // a kind for Kubernetes only
	CodeLastGood  = "WEFT0114" // the last good version stays in force
	CodeOlder     = "WEFT0115" // deprecated spelling

	CodeUnreachable   = "WEFT0120" // a rule that is never reached
	CodeOverlap       = "WEFT0121" // a match that those before it take
	CodeMisplaced     = "WEFT0122" // an annotation on a kind that it is not for
	CodeNoAnnotation  = "WEFT0123" // an annotation of Istio's that there is not
	CodeAnnotation    = "WEFT0124" // an annotation's value
	CodeOldAnnotation = "WEFT0125" // a deprecated annotation
	CodeCondition     = "WEFT0126" // status says that something is wrong
	CodePortName      = "WEFT0127" // a port's name says no protocol
	CodeExternalName  = "WEFT0128" // a port of an ExternalName service
	CodeInternal      = "WEFT0129" // a gateway that is not for users

	CodeOneWay = "WEFT0456" // a trust domain whose clients are refused
)
