package status

import (
	"fmt"
	"reflect"
	"time"
)

// shared are lists of a status of which each controller has entries, by its name.
var shared = []string{"parents", "ancestors"}

// join completes a status by the one that the cluster has: others' entries, the times of
// conditions that stay as they are, and the generation that conditions are about.
func join(before, status map[string]any, generation int64) {
	dates(before["conditions"], status["conditions"], generation)
	for _, name := range []string{"listeners", "parents", "ancestors"} {
		ours, ok := status[name].([]any)
		if !ok {
			continue
		}
		theirs, _ := before[name].([]any)
		for _, e := range ours {
			entry, _ := e.(map[string]any)
			old := entryOf(theirs, entry)
			dates(old["conditions"], entry["conditions"], generation)
		}
		for _, s := range shared {
			if s == name {
				status[name] = append(others(theirs, ours), ours...)
			}
		}
	}
}

// identity says which entry of a list another one is: a listener's name, or the reference and
// the controller of a parent.
func identity(e map[string]any) string {
	if e["controllerName"] != nil {
		return fmt.Sprint(e["controllerName"], e["parentRef"], e["ancestorRef"])
	}
	return fmt.Sprint(e["name"])
}

func entryOf(list []any, like map[string]any) map[string]any {
	for _, e := range list {
		if m, _ := e.(map[string]any); m != nil && identity(m) == identity(like) {
			return m
		}
	}
	return nil
}

// own is the controller that is nobody else's.
const own = "weft.dev/gateway-controller"

// others are the entries of other controllers.
func others(theirs, ours []any) (out []any) {
	mine := map[any]bool{own: true}
	for _, e := range ours {
		if m, _ := e.(map[string]any); m != nil {
			mine[m["controllerName"]] = true
		}
	}
	for _, e := range theirs {
		if m, _ := e.(map[string]any); m != nil && !mine[m["controllerName"]] {
			out = append(out, m)
		}
	}
	return out
}

// dates gives conditions the times that those before have whose status is the same.
func dates(before, conditions any, generation int64) {
	old, _ := before.([]any)
	list, _ := conditions.([]any)
	for _, c := range list {
		m, _ := c.(map[string]any)
		if m == nil {
			continue
		}
		if generation != 0 {
			m["observedGeneration"] = generation
		}
		if m["message"] == nil {
			m["message"] = ""
		}
		if t, _ := m["lastTransitionTime"].(string); t == "" {
			m["lastTransitionTime"] = time.Now().UTC().Format(time.RFC3339)
		}
		for _, o := range old {
			if p, _ := o.(map[string]any); p != nil && p["type"] == m["type"] && p["status"] == m["status"] && p["lastTransitionTime"] != nil {
				m["lastTransitionTime"] = p["lastTransitionTime"]
			}
		}
	}
}

// same tells whether a status has all that is to be written.
func same(before, status map[string]any) bool {
	for k, v := range status {
		if !reflect.DeepEqual(before[k], v) {
			return false
		}
	}
	return true
}
