package jwt

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	"github.com/go-jose/go-jose/v4"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
	"github.com/weftmesh/weft/proxy/http/match"
)

func TestSupportedIsSpelt(t *testing.T) {
	c, err := strict.New(supported, match.SupportedRoutes, match.Supported)
	if err == nil {
		err = c.Verify()
	}
	if err != nil {
		t.Error(err)
	}
}

func message(t testing.TB, js string) *anypb.Any {
	t.Helper()
	m := &jwtv3.JwtAuthentication{}
	if err := protojson.Unmarshal([]byte(js), m); err != nil {
		t.Fatal(err)
	}
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// issuer signs tokens.
type issuer struct {
	key  *ecdsa.PrivateKey
	jwks string
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &k.PublicKey}}})
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{k, string(b)}
}

func (i *issuer) token(t testing.TB, claims string) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: i.key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := s.Sign([]byte(claims))
	if err != nil {
		t.Fatal(err)
	}
	out, err := sig.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// caller answers calls when the test lets it.
type caller struct {
	calls []func(*filter.Answer, error)
	last  *filter.Call
}

func (c *caller) Call(q *filter.Call, done func(*filter.Answer, error)) func() {
	c.last, c.calls = q, append(c.calls, done)
	return func() {}
}

func (c *caller) answer(body string, err error) {
	done := c.calls[0]
	c.calls = c.calls[1:]
	done(&filter.Answer{Header: &filter.Headers{Status: 200}, Body: []byte(body)}, err)
}

const remoteProvider = `{"providers":{"p":{"issuer":"i","jwtCacheConfig":{},"remoteJwks":{"httpUri":{"uri":"https://keys.example:8443/jwks?v=1","cluster":"keys","timeout":"2s"},"cacheDuration":"60s"%s}}},` +
	`"rules":[{"match":{"prefix":"/"},"requires":{"providerName":"p"}}]}`

func parsed(t *testing.T, c filter.Caller, stats *filter.Stats, extra string) filter.HTTPFactory {
	t.Helper()
	f, err := Kind().Parse(&filter.ParseContext{FilterName: Name, Calls: c, Stats: stats, StatPrefix: "x"}, message(t, fmt.Sprintf(remoteProvider, extra)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func ask(f filter.HTTPFactory, token string) (*filtertest.Stream, filter.Verdict) {
	s := filtertest.New("authorization", "Bearer "+token)
	s.StreamInfo.Start = time.Now()
	return s, f.New(s).RequestHeaders(s, s.Req, true)
}

// TestOnDemand: requests wait for one fetch together; what was fetched holds for its time.
func TestOnDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, c, stats := newIssuer(t), &caller{}, &filter.Stats{}
		f := parsed(t, c, stats, "")
		if len(c.calls) != 0 {
			t.Fatal("keys were fetched though nobody needs them")
		}
		tok := i.token(t, `{"iss":"i"}`)
		a, va := ask(f, tok)
		b, vb := ask(f, tok)
		if va != filter.Wait || vb != filter.Wait || len(c.calls) != 1 {
			t.Fatalf("verdicts %v, %v, %d fetches", va, vb, len(c.calls))
		}
		if q := c.last; q.Cluster != "keys" || q.Header.Authority != "keys.example:8443" || q.Header.Path != "/jwks?v=1" || q.Timeout != 2*time.Second {
			t.Errorf("asked for %+v", q)
		}
		c.answer(i.jwks, nil)
		if len(a.Resumed) != 1 || len(b.Resumed) != 1 || a.Req.Has("authorization") {
			t.Error("the requests did not go on, without their tokens")
		}
		if _, v := ask(f, tok); v != filter.Continue {
			t.Error("fetched keys are not used")
		}
		time.Sleep(61 * time.Second)
		s, v := ask(f, tok)
		if v != filter.Wait {
			t.Fatal("keys that have expired are used")
		}
		c.answer("", errors.New("no"))
		if len(s.Replies) != 1 || s.Replies[0].Status != 401 || s.Replies[0].Body != string(noFetch) {
			t.Errorf("replies %+v", s.Replies)
		}
		if ok, bad := stats.Counter("http", "x", "jwt_authn.jwks_fetch_success").Load(), stats.Counter("http", "x", "jwt_authn.jwks_fetch_failed").Load(); ok != 1 || bad != 1 {
			t.Errorf("counted %d and %d", ok, bad)
		}
	})
}

// TestAhead: keys are fetched before a request needs them, and again in time; new ones count at once.
func TestAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, other, c := newIssuer(t), newIssuer(t), &caller{}
		f := parsed(t, c, nil, `,"asyncFetch":{},"retryPolicy":{"numRetries":1,"retryBackOff":{"baseInterval":"0.5s"}}`)
		if len(c.calls) != 1 {
			t.Fatal("nothing was fetched ahead")
		}
		c.answer("", errors.New("no"))
		time.Sleep(600 * time.Millisecond)
		synctest.Wait()
		if len(c.calls) != 1 {
			t.Fatal("the fetch was not tried again")
		}
		c.answer("nonsense", nil)
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if len(c.calls) != 1 {
			t.Fatal("keys were not fetched after a failure")
		}
		c.answer(i.jwks, nil)
		tok := i.token(t, `{"iss":"i"}`)
		if _, v := ask(f, tok); v != filter.Continue {
			t.Fatalf("verdict %v", v)
		}
		time.Sleep(55*time.Second + time.Millisecond)
		synctest.Wait()
		if len(c.calls) != 1 {
			t.Fatal("keys were not fetched again before they expire")
		}
		if _, v := ask(f, tok); v != filter.Continue {
			t.Error("the old keys do not hold meanwhile")
		}
		c.answer(other.jwks, nil)
		if _, v := ask(f, tok); v != filter.Reply {
			t.Error("a cached token outlives the keys that verified it")
		}
		if _, v := ask(f, other.token(t, `{"iss":"i"}`)); v != filter.Continue {
			t.Error("the new keys do not count")
		}
	})
}

func TestCacheChecksTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, c := newIssuer(t), &caller{}
		f := parsed(t, c, nil, `,"asyncFetch":{}`)
		c.answer(i.jwks, nil)
		tok := i.token(t, fmt.Sprintf(`{"iss":"i","exp":%d}`, time.Now().Unix()+10))
		if _, v := ask(f, tok); v != filter.Continue {
			t.Fatal("denied")
		}
		time.Sleep(40 * time.Second)
		if _, v := ask(f, tok); v != filter.Continue {
			t.Error("denied within the clock skew")
		}
		time.Sleep(31 * time.Second)
		if s, v := ask(f, tok); v != filter.Reply || s.Replies[0].Body != string(expired) {
			t.Error("an expired token is taken from the cache")
		}
	})
}

func TestMetadata(t *testing.T) {
	i := newIssuer(t)
	local, err := json.Marshal(i.jwks)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Kind().Parse(&filter.ParseContext{}, message(t, `{"providers":{"p":{"payloadInMetadata":"pay","headerInMetadata":"head",
		"normalizePayloadInMetadata":{"spaceDelimitedClaims":["scope"]},"localJwks":{"inlineString":`+string(local)+`}}},
		"rules":[{"match":{"prefix":"/"},"requires":{"providerName":"p"}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	s, v := ask(f, i.token(t, `{"iss":"x","scope":"a b","n":{"m":1}}`))
	if v != filter.Continue {
		t.Fatalf("verdict %v", v)
	}
	if got := fmt.Sprint(s.StreamInfo.Metadata); got != "map["+Name+":map[head:map[alg:ES256] pay:map[iss:x n:map[m:1] scope:[a b]]]]" {
		t.Errorf("metadata %s", got)
	}
}

func TestEveryStatusHasItsNumber(t *testing.T) {
	seen := map[int]status{}
	for s, n := range codes {
		if other, twice := seen[n]; twice || n == 0 {
			t.Errorf("%q and %q are %d", s, other, n)
		}
		seen[n] = s
	}
}

func TestAnyOfTellsOfTheToken(t *testing.T) {
	for _, c := range []struct {
		of   anyOf
		want status
	}{
		{anyOf{says(expired), says(unknownIssuer)}, expired},
		{anyOf{says(unknownIssuer), says(expired)}, expired},
		{anyOf{says(missing), says(unknownIssuer)}, unknownIssuer},
		{anyOf{says(fails), says(expired)}, expired},
		{anyOf{says(fails), says(good)}, good},
	} {
		if got := c.of.check(&check{}); got != c.want {
			t.Errorf("%v: %q", c.of, got)
		}
	}
}

type says status

func (s says) check(*check) status { return status(s) }

func TestRefused(t *testing.T) {
	for js, field := range map[string]string{
		`{"providers":{"p":{"localJwks":{"inlineString":"{}"}}}}`:                                 `providers["p"].local_jwks`,
		`{"rules":[{"match":{"prefix":"/"},"requires":{"providerName":"no"}}]}`:                   "rules[0].requires.provider_name",
		`{"rules":[{"match":{"prefix":"/"},"requirementName":"no"}]}`:                             "rules[0].requirement_name",
		`{"rules":[{"match":{"safeRegex":{"regex":"("}}}]}`:                                       "rules[0].match",
		`{"providers":{"p":{"remoteJwks":{"httpUri":{"uri":"x","cluster":"c","timeout":"1s"}}}}}`: "remote_jwks.http_uri.uri",
	} {
		if _, err := Kind().Parse(&filter.ParseContext{}, message(t, js)); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v, want it to name %s", js, err, field)
		}
	}
}

func TestCacheKeepsWhatIsUsed(t *testing.T) {
	c := newCache(8, 0)
	for i := range 8 {
		c.put(&token{raw: fmt.Sprint("t", i)})
	}
	for range 100 { // a token that is used stays, whatever else comes
		if c.get("t3") == nil {
			t.Fatal("a token in use was forgotten")
		}
		c.put(&token{raw: fmt.Sprint("n", time.Now().UnixNano())})
	}
	c.put(&token{raw: strings.Repeat("x", defaultTokenSize+1)})
	if c.get(strings.Repeat("x", defaultTokenSize+1)) != nil {
		t.Error("a token that is too long was kept")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJhIiwiYXVkIjpbImIiXSwiZXhwIjoxfQ.AAAA")
	f.Add("a.b.c")
	f.Add("..")
	f.Fuzz(func(t *testing.T, raw string) {
		tok, s := parse(raw)
		if (tok == nil) == (s == good) {
			t.Fatalf("token %v, status %q", tok, s)
		}
		if tok != nil && (!algorithms[tok.alg] || tok.raw != raw) {
			t.Errorf("algorithm %q", tok.alg)
		}
	})
}

func TestFilterStateSaysWhatIsNeeded(t *testing.T) {
	iss := newIssuer(t)
	js := fmt.Sprintf(`{"providers":{"p":{"issuer":"i","localJwks":{"inlineString":%q}}},
		"rules":[{"match":{"prefix":"/free"}}],
		"filterStateRules":{"name":"k","requires":{"strict":{"providerName":"p"},"lax":{"allowMissing":{}}}}}`, iss.jwks)
	f, err := Kind().Parse(&filter.ParseContext{FilterName: Name}, message(t, js))
	if err != nil {
		t.Fatal(err)
	}
	good := "Bearer " + iss.token(t, `{"iss":"i"}`)
	for _, c := range []struct {
		path, state, auth string
		want              filter.Verdict
	}{
		{"/", "strict", "", filter.Reply},
		{"/", "strict", good, filter.Continue},
		{"/", "lax", "", filter.Continue},
		{"/", "lax", "Bearer x", filter.Reply},
		{"/", "other", "", filter.Continue},
		{"/", "", "", filter.Continue},
		{"/free", "strict", "", filter.Continue},
	} {
		s := filtertest.New(":path", c.path)
		if c.auth != "" {
			s.Req.Set("authorization", c.auth)
		}
		if c.state != "" {
			s.StreamInfo.SetObject(filter.Shared{Key: "k", Value: c.state})
		}
		x := f.New(s)
		if got := x.RequestHeaders(s, s.Req, true); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
		x.Done(s)
	}
	_, err = Kind().Parse(&filter.ParseContext{}, message(t, `{"filterStateRules":{"name":"k","requires":{"a":{"providerName":"none"}}}}`))
	if err == nil || !strings.Contains(err.Error(), `filter_state_rules.requires["a"].provider_name`) {
		t.Errorf("an unknown provider: %v", err)
	}
}
