package authz

import (
	"fmt"
	"strings"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate/pb"
)

// condition translates a "when": into permissions for what it says of the
// destination, into principals for the source.
func (t *translator) condition(c *model.AuthzCondition) ([]*rbacv3.Permission, []*rbacv3.Principal, error) {
	source := func(f principalFunc) ([]*rbacv3.Permission, []*rbacv3.Principal, error) {
		list, err := principals(c.Values, c.NotValues, f)
		return nil, list, err
	}
	destination := func(f permissionFunc) ([]*rbacv3.Permission, []*rbacv3.Principal, error) {
		list, err := permissions(c.Values, c.NotValues, f)
		return list, nil, err
	}
	switch {
	case strings.HasPrefix(c.Key, "request.headers[") && strings.HasSuffix(c.Key, "]"):
		name := strings.ToLower(c.Key[len("request.headers[") : len(c.Key)-1])
		return source(func(v string) ([]*rbacv3.Principal, error) {
			if t.tcp || t.proxyless && hidden(name) {
				return nil, unmatched{}
			}
			return []*rbacv3.Principal{headerPrincipal(header(name, v, false))}, nil
		})
	case c.Key == "source.ip":
		return source(sourceIP)
	case c.Key == "remote.ip":
		return source(remoteBlock)
	case c.Key == "source.namespace":
		return source(t.namespace)
	case c.Key == "source.principal":
		return source(t.principal)
	case c.Key == "source.serviceAccount":
		return source(t.serviceAccount)
	case c.Key == "source.trustDomain":
		return source(t.trustDomain)
	case c.Key == "request.auth.principal":
		return source(t.requestPrincipal)
	case strings.HasPrefix(c.Key, "request.auth."):
		list, err := t.claims(c)
		return nil, list, err
	case strings.HasPrefix(c.Key, experimental) && t.proxyless:
		return nil, nil, unmatched{}
	case strings.HasPrefix(c.Key, experimental):
		list, err := filterMetadata(c)
		return list, nil, err
	case c.Key == "destination.ip":
		return destination(func(v string) ([]*rbacv3.Permission, error) {
			p, err := pb.ParseCIDR(v)
			if err != nil {
				return nil, err
			}
			return []*rbacv3.Permission{{Rule: &rbacv3.Permission_DestinationIp{DestinationIp: pb.CIDR(p)}}}, nil
		})
	case c.Key == "destination.port":
		return destination(port)
	case c.Key == "connection.sni":
		return destination(func(v string) ([]*rbacv3.Permission, error) { return sni(v), nil })
	}
	return nil, nil, fmt.Errorf("unknown condition key %q", c.Key)
}
