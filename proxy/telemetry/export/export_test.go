package export

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBatchesBySizeTimeAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got [][]string
		fail := false
		b := New(&Batch[string]{
			Every: time.Second, Bytes: 4, Size: func(s string) int { return len(s) }, Log: slog.New(slog.DiscardHandler),
			Send: func(_ context.Context, items []string) error {
				got = append(got, append([]string(nil), items...))
				if fail {
					return errors.New("down")
				}
				return nil
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = b.Run(ctx)
		}()
		b.Add("aa")
		b.Add("bb") // full
		synctest.Wait()
		b.Add("c")
		time.Sleep(2 * time.Second) // the bubble's clock
		synctest.Wait()
		fail = true
		b.Add("dddd")
		synctest.Wait()
		fail = false
		b.Add("e")
		cancel()
		<-done
		if d := cmp.Diff([][]string{{"aa", "bb"}, {"c"}, {"dddd"}, {"e"}}, got); d != "" {
			t.Error(d)
		}
		if b.Dropped() != 1 {
			t.Errorf("dropped %d, want 1", b.Dropped())
		}
	})
}

func TestAddNeverBlocks(t *testing.T) {
	b := New(&Batch[int]{})
	for i := range queueSize + 5 {
		b.Add(i)
	}
	if b.Dropped() != 5 {
		t.Errorf("dropped %d, want 5", b.Dropped())
	}
}

func TestPost(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if r.Host != "collector" || r.URL.Path != "/v1/x" || r.Header.Get("X-A") != "1" || string(b) != "body" {
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	defer srv.Close()
	p := &Post{
		URL: "http://collector/v1/x", ContentType: "text/plain", Timeout: time.Second, Header: [][2]string{{"x-a", "1"}},
		Dial: func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", srv.Listener.Addr().String())
		},
	}
	p.Open()
	defer p.Close()
	if err := p.Send(t.Context(), []byte("body")); err != nil {
		t.Error(err)
	}
	if err := p.Send(t.Context(), []byte("other")); err == nil {
		t.Error("a status of 400 is a success")
	}
}
