package registries

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// eurekaApps is what a server of Spring Cloud answers, shortened.
const eurekaApps = `{"applications":{"versions__delta":"1","apps__hashcode":"UP_2_","application":[{"name":"SHOP","instance":[
{"instanceId":"a:shop:%[1]d","hostName":"a","app":"SHOP","ipAddr":"10.0.0.1","status":"UP","overriddenStatus":"UNKNOWN","port":{"$":%[1]d,"@enabled":"true"},"securePort":{"$":443,"@enabled":"false"},"metadata":{"management.port":"8080","version":"v1"}},
{"instanceId":"b:shop:8080","hostName":"b","app":"SHOP","ipAddr":"10.0.0.2","status":"DOWN","port":{"$":8080,"@enabled":"true"},"securePort":{"$":443,"@enabled":"false"},"metadata":{"@class":"java.util.Collections$EmptyMap"}}]}
,{"name":"SAFE","instance":{"instanceId":"c","ipAddr":"10.0.0.3","status":"UP","port":{"$":80,"@enabled":"false"},"securePort":{"$":8443,"@enabled":"true"}}}]}}`

const eurekaYAML = `apiVersion: weft.dev/v1alpha1
kind: Registry
metadata: {name: eureka, namespace: shop}
spec:
  type: eureka
  addresses: ["http://127.0.0.1:1", %q]
  refreshPeriod: 100ms
  naming: {items: [{kind: service}, {kind: metadata, value: version}, {kind: static, value: eureka}]}
`

func TestEureka(t *testing.T) {
	t.Parallel()
	var body atomic.Pointer[string]
	set := func(s string) { body.Store(&s) }
	set(fmt.Sprintf(eurekaApps, 8080))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/eureka/apps" || r.Header.Get("Accept") != "application/json" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(*body.Load()))
	}))
	defer server.Close()
	p := start(t, fmt.Sprintf(eurekaYAML, server.URL))
	safe := "shop/safe.eureka https-80: 10.0.0.3:8443"
	p.want(nil, safe, "shop/shop.v1.eureka http-80: 10.0.0.1:8080")
	set(fmt.Sprintf(eurekaApps, 8081))
	p.want(nil, safe, "shop/shop.v1.eureka http-80: 10.0.0.1:8081")
	set(`{"applications":{"application":[]}}`)
	eventually(t, func() error {
		if st := p.status("eureka", "synced"); st.Retained != 2 {
			return fmt.Errorf("status %+v", st)
		}
		return nil
	})
	set("<html>")
	p.status("eureka", "stale")
	p.want(nil, safe, "shop/shop.v1.eureka http-80: 10.0.0.1:8081")
}
