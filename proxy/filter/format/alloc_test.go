//go:build !race

package format

import "testing"

func TestAppendDoesNotAllocate(t *testing.T) {
	f, err := Compile(`[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %UPSTREAM_HOST% %DURATION% %DOWNSTREAM_REMOTE_ADDRESS%`, Options{Missing: "-"})
	if err != nil {
		t.Fatal(err)
	}
	info, buf := testInfo(), make([]byte, 0, 512)
	if n := testing.AllocsPerRun(100, func() { buf = f.Append(buf[:0], info) }); n != 0 {
		t.Errorf("%v allocations per line, want 0", n)
	}
}
