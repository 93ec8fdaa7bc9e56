package dubbo

import (
	"net/url"
	"testing"
)

func TestProvider(t *testing.T) {
	id, in, err := Provider(url.QueryEscape("dubbo://[2001:db8::1]:20880/path?interface=org.x.Cart&group=g&version=1.0.0&weight=50&pid=7&tag=a"))
	if err != nil {
		t.Fatal(err)
	}
	if id.String() != "org.x.Cart:g:1.0.0" || in.Address != "2001:db8::1" || in.Port != 20880 || in.Weight != 50 || in.Off || in.Protocol != "dubbo" || in.Labels["tag"] != "a" || in.Labels["pid"] != "" {
		t.Errorf("%s %+v", id, in)
	}
	for node, off := range map[string]bool{
		"tri://10.0.0.1:50051/org.x.Cart": false, "dubbo://10.0.0.1:1/x?weight=0": true, "dubbo://10.0.0.1:1/x?disabled=true": true, "dubbo://10.0.0.1:1/x?enabled=false": true,
	} {
		if _, in, err := Provider(url.QueryEscape(node)); err != nil || in.Off != off {
			t.Errorf("%s: off %v, %v", node, in.Off, err)
		}
	}
	for _, node := range []string{"", "%", "dubbo://10.0.0.1/x", "dubbo://10.0.0.1:99999/x", "dubbo://10.0.0.1:1/", "\x7f://"} {
		if _, _, err := Provider(node); err == nil {
			t.Errorf("%q is a provider", node)
		}
	}
}

// FuzzRead: whatever is in a registry, reading it ends, and what is read has an address's form.
func FuzzRead(f *testing.F) {
	f.Add("dubbo%3A%2F%2F10.0.0.1%3A20880%2Forg.x.Cart%3Fversion%3D1")
	f.Add(`{"address":"10.0.0.1","port":20880,"payload":{"metadata":{"dubbo.endpoints":"[{\"port\":1,\"protocol\":\"tri\"}]","dubbo.metadata.revision":"r"}}}`)
	f.Add(`{"app":"a","services":{"x":{"name":"org.x.Cart","protocol":"tri","port":1,"params":{"a":"b"}}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		if _, in, err := Provider(text); err == nil && in.Labels == nil {
			t.Error("an instance without labels")
		}
		served, _ := Metadata([]byte(text))
		a, err := Application([]byte(text))
		if err == nil {
			for _, list := range a.Instances("org.x.Cart", served) {
				for _, in := range list {
					if in.Port == 0 && len(served) > 0 {
						t.Error("an instance without a port")
					}
				}
			}
		}
		Mapping([]byte(text))
	})
}
