package document

// Codes of the Findings that sources make. They are stable: people grep for
// them and suppress by them. control/check has 02xx.
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
)
