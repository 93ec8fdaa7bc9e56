package fswatch

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestWhen: what is whole is told at once, what is being written is waited for, and
// a burst ends.
func TestWhen(t *testing.T) {
	const never = time.Duration(-1)
	type step struct {
		after time.Duration
		e     event
		want  time.Duration
	}
	half, whole := event{path: "a"}, event{path: "a", whole: true}
	for name, steps := range map[string][]step{
		"a file moved into its place":      {{0, whole, soon}},
		"written and closed":               {{0, half, quiet}, {time.Millisecond, half, quiet}, {time.Millisecond, whole, soon}, {0, half, never}},
		"written without end":              {{0, half, quiet}, {30 * time.Millisecond, half, quiet}, {150 * time.Millisecond, half, 20 * time.Millisecond}, {time.Second, half, 0}},
		"several at once are one":          {{0, whole, soon}, {0, event{path: "b", whole: true}, never}},
		"the system has lost some":         {{0, event{lost: true}, quiet}},
		"what belongs together is one too": {{0, whole, soon}, {time.Microsecond, event{path: "c"}, never}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &runner{}
				for i, s := range steps {
					time.Sleep(s.after)
					if got := r.noted(s.e); got != s.want {
						t.Errorf("step %d: look after %v, want %v", i, got, s.want)
					}
				}
				if r.notice.All != steps[0].e.lost || r.notice.All == (len(r.notice.Paths) > 0) {
					t.Errorf("the notice is %+v", r.notice)
				}
			})
		})
	}
	t.Run("a storm is not told one by one", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := &runner{last: time.Now()}
			time.Sleep(quiet / 4)
			if got := r.noted(whole); got != 3*quiet/4 {
				t.Errorf("look after %v, want %v: the last was just now", got, 3*quiet/4)
			}
			r = &runner{last: time.Now(), took: quiet / 2}
			time.Sleep(quiet)
			if got := r.noted(whole); got != quiet {
				t.Errorf("look after %v, want %v: looks are dear", got, quiet)
			}
		})
	})
}
