package proxy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	nethttp "net/http"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// serve answers what is meant for a service.
func serve(w nethttp.ResponseWriter, r *nethttp.Request) bool {
	switch {
	case strings.HasPrefix(r.URL.Path, "/envoy.service."):
		grpcServer.ServeHTTP(w, r)
	case strings.HasPrefix(r.URL.Path, "/authz"):
		authorize(w, r)
	case r.URL.Path == "/jwks":
		_, _ = io.WriteString(w, testJWKS)
	default:
		return false
	}
	return true
}

// grpcServer has the services that filters ask; it is the upstream of the tests.
var grpcServer = func() *grpc.Server {
	s := grpc.NewServer()
	authv3.RegisterAuthorizationServer(s, authorizer{})
	rlsv3.RegisterRateLimitServiceServer(s, limiter{done: make(chan string, 100)})
	return s
}()

// testJWKS has the key of the token in testdata/filters/jwt_remote.yaml.
const testJWKS = `{"keys":[{"kty":"RSA","kid":"r","n":"oqtZxfYsTLRAlN-5m0Ba6Udc-rxI6JE1ihgk9ifcvrrpxzAu1vmjS__AUa-bX8cRo1aynFRc4XH_ekJ0Q-CcJ0g9ElNOJvafn3aWDBaKrU_LxQkuQHyXHugZKI5Uuk5osmIqj5_6SVFtB3T1Q2Qnf47x5MQqKcpEuvlJxzhuZ2SrMihYExtqb35Wo7SULBVwiiOXuEoQlfp3bJNPPgFXUk1Yf8TWaaIJBOTO0m84XQ1CVZBY2KB-3Km-tlkPKofjUBAMZzooCRV3ntavHigme9mPyqfQ5Uk6PCTz-b8KGA71VCQ1m48F4YG-2qtFudysqZt_xy7o0Kr8hwvX1aeWcw","e":"AQAB"},{"kty":"EC","kid":"e256","crv":"P-256","x":"pqG6nVXfUr4nF2OSyMNO_ReWBLQ-5qqUrO9BeqmnM-8","y":"FvlYUWKJu5bppp4SMr8O1c8mh1p7zQWpMQyBq1tLhCE"},{"kty":"EC","kid":"e384","crv":"P-384","x":"ss7JCPvgmrI2sK7sgQMnD899nIg2qd9PlgUP9gVXU9Y6QO8p0mf7NMDtIB5mUglf","y":"u7ZtMM-Hs4mEIuK1j3mqgXYdKbpXLpMgzNXeHFQ8_phVkUTiqpY8evHAZWfjyR35"},{"kty":"EC","kid":"e521","crv":"P-521","x":"ABngqDsBzpKQNVCgU2-bYcU3Qhf85g21aqMhhj2qckT_6QGSN5qx3-xLoHhmacrORQuy61Lhj1XX3F-AIYZUsrTF","y":"AL-5z5N0sRLITD1XWrMfQpsmiWNq_XI8QJNIl15FWJXzP7KGfcgm_7YVDNh7921umNTMSfcLy2SmP1xpX3Q1edUq"},{"kty":"OKP","kid":"ed","crv":"Ed25519","x":"u4vj51v7voqOBWN1ca62HoFXFlNh6ghR06d1VwzWJEo"},{"kty":"oct","kid":"o","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZg"}]}`

type authorizer struct {
	authv3.UnimplementedAuthorizationServer
}

// Check does what the header x-authz of the request says.
func (authorizer) Check(_ context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	option := func(k, v string, a corev3.HeaderValueOption_HeaderAppendAction) *corev3.HeaderValueOption {
		return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: k, Value: v}, AppendAction: a}
	}
	old := func(k, v string, a bool) *corev3.HeaderValueOption {
		return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: k, Value: v}, Append: wrapperspb.Bool(a)}
	}
	md, err := structpb.NewStruct(map[string]any{"user": "alice"})
	if err != nil {
		return nil, err
	}
	h := r.GetAttributes().GetRequest().GetHttp()
	switch h.GetHeaders()["x-authz"] {
	case "ok":
		return &authv3.CheckResponse{Status: &rpcstatus.Status{}, DynamicMetadata: md}, nil
	case "change":
		return &authv3.CheckResponse{Status: &rpcstatus.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: []*corev3.HeaderValueOption{
				option("x-a", "added", corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD), option("x-b", "set", corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD),
				option("x-c", "absent", corev3.HeaderValueOption_ADD_IF_ABSENT), option("x-d", "present", corev3.HeaderValueOption_OVERWRITE_IF_EXISTS),
				old("x-e", "appended", true), old("x-f", "replaced", false), old("x-none", "appended", true),
			},
			HeadersToRemove:         []string{"x-g", "host", ":path"},
			ResponseHeadersToAdd:    []*corev3.HeaderValueOption{option("x-r", "1", corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD), old("server", "mine", false)},
			QueryParametersToSet:    []*corev3.QueryParameter{{Key: "q", Value: "new"}},
			QueryParametersToRemove: []string{"gone"},
		}}}, nil
	case "deny":
		return &authv3.CheckResponse{Status: &rpcstatus.Status{Code: int32(codes.PermissionDenied)}}, nil
	case "":
		return nil, status.Error(codes.Internal, "no word about what to do")
	case "fail":
		return &authv3.CheckResponse{Status: &rpcstatus.Status{Code: int32(codes.Internal)}, HttpResponse: &authv3.CheckResponse_ErrorResponse{
			ErrorResponse: &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: 418}, Body: "broken", Headers: []*corev3.HeaderValueOption{old("x-why", "y", false)}},
		}}, nil
	}
	body, err := describe(r)
	if err != nil {
		return nil, err
	}
	return &authv3.CheckResponse{Status: &rpcstatus.Status{Code: int32(codes.Unauthenticated)}, HttpResponse: &authv3.CheckResponse_DeniedResponse{
		DeniedResponse: &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: 401}, Body: body,
			Headers: []*corev3.HeaderValueOption{old("content-type", "application/json", false), old("set-cookie", "a", true), old("set-cookie", "b", true)},
		},
	}}, nil
}

// describe is a request as text, without what changes from time to time.
func describe(r *authv3.CheckRequest) (string, error) {
	m := proto.CloneOf(r)
	a := m.GetAttributes()
	for _, p := range []*authv3.AttributeContext_Peer{a.GetSource(), a.GetDestination()} {
		if s := p.GetAddress().GetSocketAddress(); s != nil {
			s.PortSpecifier = nil
		}
	}
	a.GetRequest().Time = nil
	h := a.GetRequest().GetHttp()
	h.Id = ""
	if h.GetHeaders()["x-request-id"] != "" {
		h.Headers["x-request-id"] = "*"
	}
	b, err := protojson.Marshal(m)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = json.Indent(&out, b, "", " ")
	return out.String(), err
}

// authorize is the same over HTTP.
func authorize(w nethttp.ResponseWriter, r *nethttp.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Upstream", "u")
	w.Header().Set("X-Client", "c")
	w.Header().Set("X-Meta", "m")
	w.Header().Set("X-Envoy-Auth-Headers-To-Remove", "x-g, x-h")
	switch how := r.Header.Get("X-Authz"); how {
	case "ok":
	case "":
		w.WriteHeader(nethttp.StatusServiceUnavailable)
	default:
		for k := range r.Header { // what only one of the proxies sends about itself
			if strings.HasPrefix(k, "X-Envoy-") && k != "X-Envoy-Auth-Partial-Body" || k == "X-Forwarded-For" {
				delete(r.Header, k)
			}
		}
		text := fmt.Sprintf("%s %s\nhost: %s\nlength: %d\n%s%s\n", r.Method, r.RequestURI, r.Host, r.ContentLength, lines(r.Header), body)
		code, err := strconv.Atoi(how)
		if err != nil {
			code = nethttp.StatusUnauthorized
		}
		w.Header().Set("WWW-Authenticate", "Basic")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, text)
	}
}

type limiter struct {
	rlsv3.UnimplementedRateLimitServiceServer
	done chan string // what was counted of requests that were over
}

// ShouldRateLimit does what the value of a descriptor's entry "do" says, and tells
// in a header what it was asked.
func (l limiter) ShouldRateLimit(_ context.Context, r *rlsv3.RateLimitRequest) (*rlsv3.RateLimitResponse, error) {
	asked := r.Domain
	out := &rlsv3.RateLimitResponse{OverallCode: rlsv3.RateLimitResponse_OK}
	for i, d := range r.Descriptors {
		asked += " ["
		for _, e := range d.Entries {
			asked += e.Key + "=" + e.Value + ","
			switch e.Key + e.Value {
			case "donedone":
				l.done <- fmt.Sprintf("%s=%s hits=%v", e.Key, e.Value, d.GetHitsAddend().GetValue())
			case "dotell":
				select {
				case s := <-l.done:
					asked += "(before: " + s + ")"
				case <-time.After(60 * time.Second):
					return nil, status.Error(codes.DeadlineExceeded, "no request that was over")
				}
			case "dofail":
				return nil, status.Error(codes.Unavailable, "asked to")
			case "dounknown":
				out.OverallCode = rlsv3.RateLimitResponse_UNKNOWN
			case "doover":
				out.OverallCode = rlsv3.RateLimitResponse_OVER_LIMIT
			case "dobody":
				out.OverallCode = rlsv3.RateLimitResponse_OVER_LIMIT
				out.RawBody = []byte("<over>")
				out.ResponseHeadersToAdd = append(out.ResponseHeadersToAdd, &corev3.HeaderValue{Key: "content-type", Value: "text/html"})
			case "doslow":
				time.Sleep(300 * time.Millisecond)
			}
		}
		asked += fmt.Sprintf("hits=%v limit=%v]", d.GetHitsAddend().GetValue(), d.GetLimit().GetRequestsPerUnit())
		out.Statuses = append(out.Statuses, &rlsv3.RateLimitResponse_DescriptorStatus{
			Code: out.OverallCode, LimitRemaining: uint32(9 - i), DurationUntilReset: durationpb.New(time.Duration(i+5) * time.Second),
			CurrentLimit: &rlsv3.RateLimitResponse_RateLimit{
				Name: strings.Repeat("n", i), RequestsPerUnit: uint32(10 + i), Unit: rlsv3.RateLimitResponse_RateLimit_MINUTE,
			},
		})
	}
	out.RequestHeadersToAdd = []*corev3.HeaderValue{{Key: "x-asked", Value: asked}}
	out.ResponseHeadersToAdd = append(out.ResponseHeadersToAdd, &corev3.HeaderValue{Key: "x-answered", Value: "yes"})
	return out, nil
}
