package eureka

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/registry"
)

// book is what the servers have, and was told.
type book struct {
	to   registry.Sink
	apps map[string]map[string]entry // by name and the id of the instance
	// untold are applications of which a delta that did not add up has changed something.
	untold map[string]bool
}

// entry is an instance. The status is beside it, for the digest counts them by it.
type entry struct {
	status   string
	instance registry.Instance
}

func (e entry) same(o entry) bool {
	a, b := e.instance, o.instance
	return e.status == o.status && a.Address == b.Address && a.Port == b.Port && a.Protocol == b.Protocol && a.Off == b.Off && maps.Equal(a.Labels, b.Labels)
}

func newBook(to registry.Sink) *book {
	return &book{to: to, apps: map[string]map[string]entry{}, untold: map[string]bool{}}
}

// replace takes the answer with everything, and tells of what is different.
func (b *book) replace(body []byte) error {
	all, _, err := read(body)
	if err != nil {
		return err
	}
	now := map[string]map[string]entry{}
	for _, app := range all {
		list := now[app.name()]
		if list == nil {
			list = map[string]entry{}
			now[app.name()] = list
		}
		for i := range app.Instance {
			list[app.Instance[i].id()] = app.Instance[i].entry()
		}
	}
	was := b.apps
	b.apps = now
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if old, there := was[name]; !there || b.untold[name] || !maps.EqualFunc(old, now[name], entry.same) {
			b.tell(name)
		}
	}
	clear(b.untold) // the others have gone
	return nil
}

// change takes a delta, tells of what is different, and says whether all of it is known then: the server's digest, which
// counts the instances of each status, is ours.
func (b *book) change(body []byte) (whole bool, err error) {
	delta, digest, err := read(body)
	if err != nil {
		return false, err
	}
	for _, app := range delta {
		name := app.name()
		for i := range app.Instance {
			in := &app.Instance[i]
			was, there := b.apps[name][in.id()]
			if in.ActionType == "DELETED" {
				if delete(b.apps[name], in.id()); there {
					b.untold[name] = true
				}
				continue
			}
			now := in.entry()
			if there && was.same(now) {
				continue // deltas tell the same for minutes
			}
			if b.apps[name] == nil {
				b.apps[name] = map[string]entry{}
			}
			b.apps[name][in.id()], b.untold[name] = now, true
		}
	}
	if b.digest() != digest {
		return false, nil // nothing is told that does not add up
	}
	for _, name := range slices.Sorted(maps.Keys(b.untold)) {
		if len(b.apps[name]) == 0 {
			delete(b.apps, name)
			continue
		}
		b.tell(name)
	}
	clear(b.untold)
	return true, nil
}

// digest is Eureka's: "STATUS_COUNT_" of each status, by name.
func (b *book) digest() string {
	n := map[string]int{}
	for _, list := range b.apps {
		for _, e := range list {
			n[e.status]++
		}
	}
	var out strings.Builder
	for _, status := range slices.Sorted(maps.Keys(n)) {
		out.WriteString(status + "_" + strconv.Itoa(n[status]) + "_")
	}
	return out.String()
}

func (b *book) tell(name string) {
	s := registry.Service{Name: name}
	for _, id := range slices.Sorted(maps.Keys(b.apps[name])) {
		s.Instances = append(s.Instances, b.apps[name][id].instance)
	}
	b.to.Service(s)
}

func (b *book) complete() { b.to.Complete(slices.Collect(maps.Keys(b.apps))) }

// list is a JSON array, or the one element of it that old servers write in its place.
type list[T any] []T

// UnmarshalJSON implements json.Unmarshaler.
func (l *list[T]) UnmarshalJSON(raw []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("[")) {
		return json.Unmarshal(raw, (*[]T)(l))
	}
	var one T
	if err := json.Unmarshal(raw, &one); err != nil {
		return err
	}
	*l = list[T]{one}
	return nil
}

type application struct {
	Name     string
	Instance list[instance]
}

func (a *application) name() string { return strings.ToLower(a.Name) }

type instance struct {
	InstanceID string `json:"instanceId"`
	HostName   string `json:"hostName"`
	IPAddr     string `json:"ipAddr"`
	Status     string
	ActionType string `json:"actionType"`
	Port       port
	SecurePort port
	Metadata   map[string]any
}

type port struct {
	Number  uint16 `json:"$"`
	Enabled any    `json:"@enabled"` // "true", or true
}

func (p port) on() bool { return fmt.Sprint(p.Enabled) == "true" && p.Number != 0 }

// id is what Eureka tells instances of one application apart by: those of old clients have their host's name only.
func (i *instance) id() string {
	if i.InstanceID != "" {
		return i.InstanceID
	}
	return i.HostName
}

func (i *instance) entry() entry {
	in := registry.Instance{Address: i.IPAddr, Port: i.Port.Number, Off: i.Status != "UP", Labels: map[string]string{}}
	if !i.Port.on() && i.SecurePort.on() {
		in.Port, in.Protocol = i.SecurePort.Number, model.HTTPS
	}
	for k, v := range i.Metadata {
		if text, ok := v.(string); ok && !strings.HasPrefix(k, "@") {
			in.Labels[k] = text
		}
	}
	in.Labels["instanceId"] = i.InstanceID
	return entry{status: i.Status, instance: in}
}

// read reads an answer, and the server's digest of all that it has.
func read(body []byte) (apps []application, digest string, err error) {
	var all struct {
		Applications *struct {
			Digest      string `json:"apps__hashcode"`
			Application list[application]
		}
	}
	if err := json.Unmarshal(body, &all); err != nil {
		return nil, "", err
	}
	if all.Applications == nil {
		return nil, "", errors.New("no applications in the answer: is it Eureka?")
	}
	return all.Applications.Application, all.Applications.Digest, nil
}
