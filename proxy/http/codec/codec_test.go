package codec

import "testing"

func TestResetCodeString(t *testing.T) {
	for code, want := range map[ResetCode]string{
		ResetNone: "NO_ERROR", ResetRefused: "REFUSED_STREAM", ResetHTTP11Required: "HTTP_1_1_REQUIRED",
		ResetConnection: "CONNECTION_TERMINATION", 0xff: "UNKNOWN_ERROR",
	} {
		if got := code.String(); got != want {
			t.Errorf("ResetCode(%#x) = %q, want %q", uint32(code), got, want)
		}
	}
}
