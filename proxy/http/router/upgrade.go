package router

import (
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 6455 asks for it
	"encoding/base64"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// Upgrades look the same whatever the versions: a GET with Headers.Protocol
// set, answered by 101; the codecs see to the extended CONNECT of HTTP/2. What
// is left is WebSocket's handshake, which only HTTP/1 has.

// completeUpgrade gives an HTTP/1 upstream the key that an HTTP/2 client did not send.
func (r *Router) completeUpgrade(h *filter.Headers) {
	if !websocket(h.Protocol) || r.x.Protocol == "HTTP/2" || h.Has("sec-websocket-key") {
		return // one that another attempt has made serves this one too
	}
	r.keyed = true
	var key [16]byte
	_, _ = rand.Read(key[:]) // never fails
	h.Set("sec-websocket-key", base64.StdEncoding.EncodeToString(key[:]))
}

// completeUpgraded gives an HTTP/1 client the answer to its key that an HTTP/2
// upstream did not send.
func (r *Router) completeUpgraded(h *filter.Headers) {
	if r.keyed {
		h.Del("sec-websocket-accept") // the client has not asked (RFC 8441 5)
		return
	}
	if h.Status != 101 || !websocket(r.h.Protocol) || h.Has("sec-websocket-accept") {
		return
	}
	if key := r.h.Get("sec-websocket-key"); key != "" {
		sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // RFC 6455
		h.Set("sec-websocket-accept", base64.StdEncoding.EncodeToString(sum[:]))
	}
}

func websocket(token string) bool { return strings.EqualFold(token, "websocket") }
