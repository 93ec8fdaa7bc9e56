// Package source is the worked example of docs/EXTENDING.md: a controller of one's own for the resource
// "Shop", which a company keeps in a file of JSON. Each shop becomes a service of the mesh, and a shop with a second
// version the routes that share requests out between the two.
package source

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source"
	"github.com/weftmesh/weft/control/source/document"
)

// Shop is the resource.
type Shop struct {
	Name string `json:"name"`
	// Addresses are those of its instances, Next those of its next version, which gets Share percent of the requests.
	Addresses []string `json:"addresses"`
	Next      []string `json:"next,omitempty"`
	Share     uint32   `json:"share,omitempty"`
	Port      uint16   `json:"port"`
}

// Shops is a source.Source.
type Shops struct {
	// File is looked at every Every (0: a second).
	File  string
	Every time.Duration
}

// Name implements source.Source.
func (*Shops) Name() string { return "shops" }

// Run implements source.Source: one full delta at the beginning, and one whenever the file is another. A file that
// cannot be read changes nothing: stale beats wrong.
func (s *Shops) Run(ctx context.Context, out chan<- model.Delta) error {
	tick := time.NewTicker(cmp.Or(s.Every, time.Second))
	defer tick.Stop()
	last, first := "", true
	var have []model.Object
	for {
		d := model.Delta{Source: s.Name(), Full: true, Upserts: have, Why: "shops"}
		raw, err := os.ReadFile(s.File)
		if err != nil {
			d.Findings = []model.Finding{s.fault(model.Key{Kind: "Shop"}, "", "cannot be read: "+err.Error())}
		} else {
			d.Upserts, d.Findings = s.convert(raw)
		}
		if now := string(raw) + fmt.Sprint(err); first || now != last {
			last, first, have = now, false, d.Upserts
			if err := source.Send(ctx, out, d); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// convert turns shops into objects of the model. One that is bad is named, and does not hide the others.
func (s *Shops) convert(raw []byte) (objects []model.Object, faults []model.Finding) {
	var list []Shop
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, []model.Finding{s.fault(model.Key{Kind: "Shop"}, "", "is no list of shops: "+err.Error())}
	}
	for _, shop := range list {
		key := model.Key{Kind: "Shop", Namespace: "shops", Name: shop.Name}
		switch {
		case shop.Name == "" || shop.Port == 0 || len(shop.Addresses) == 0:
			faults = append(faults, s.fault(key, "name", "needs a name, a port and addresses"))
			continue
		case shop.Share > 100:
			faults = append(faults, s.fault(key, "share", "must be 0 to 100"))
			continue
		}
		objects = append(objects, s.service(shop))
		if len(shop.Next) > 0 {
			objects = append(objects, s.policy(shop), s.routes(shop))
		}
	}
	return objects, faults
}

// meta is what every object carries: a key that nobody else has, where it was read, and a hash of all that it is made of.
func (s *Shops) meta(kind model.Kind, shop Shop) model.Meta {
	return model.Meta{
		Key:    model.Key{Kind: kind, Namespace: "shops", Name: "shop-" + shop.Name},
		Origin: model.Origin{Source: s.Name(), File: s.File},
		Of:     model.Key{Kind: "Shop", Namespace: "shops", Name: shop.Name},
		Hash:   document.Mix(0, fmt.Sprintf("%+v", shop)),
	}
}

func host(shop Shop) string { return shop.Name + ".shops.internal" }

func (s *Shops) service(shop Shop) *model.Service {
	out := &model.Service{
		Meta: s.meta(model.KindServiceEntry, shop), Host: host(shop), Name: shop.Name, Namespace: "shops", FromEntry: true,
		Ports:   []model.ServicePort{{Name: "http", Port: shop.Port, Protocol: model.HTTP}},
		Exports: model.Visibility{Public: true},
	}
	add := func(addresses []string, version string) {
		for _, a := range addresses {
			out.Inline = append(out.Inline, model.Endpoint{Address: a, Port: shop.Port, Labels: map[string]string{"version": version}, Healthy: true})
		}
	}
	add(shop.Addresses, "now")
	add(shop.Next, "next")
	return out
}

// policy has the two versions as subsets.
func (s *Shops) policy(shop Shop) *model.TrafficPolicySet {
	return &model.TrafficPolicySet{
		Meta: s.meta(model.KindDestinationRule, shop), Host: host(shop), Exports: model.Visibility{Public: true},
		Subsets: []model.Subset{{Name: "now", Labels: map[string]string{"version": "now"}}, {Name: "next", Labels: map[string]string{"version": "next"}}},
	}
}

// routes share requests out.
func (s *Shops) routes(shop Shop) *model.RouteSet {
	return &model.RouteSet{
		Meta: s.meta(model.KindVirtualService, shop), Hosts: []string{host(shop)}, Gateways: []string{"mesh"}, Exports: model.Visibility{Public: true},
		HTTP: []model.Route{{Destinations: []model.Destination{
			{Host: host(shop), Subset: "now", Weight: 100 - shop.Share}, {Host: host(shop), Subset: "next", Weight: shop.Share},
		}}},
	}
}

func (s *Shops) fault(of model.Key, field, text string) model.Finding {
	return model.Finding{
		Code: document.CodeValue, Severity: model.Error, Object: of, Origin: model.Origin{Source: s.Name(), File: s.File}, Field: field, Message: text,
		Remedy: "see docs/EXTENDING.md",
	}
}
