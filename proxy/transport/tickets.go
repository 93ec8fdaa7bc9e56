package transport

import (
	"crypto/sha256"
	"errors"
	"fmt"
)

// TicketKeys encrypt session tickets; the first makes new ones. Proxies that
// share them resume each other's sessions. Immutable.
type TicketKeys struct{ keys [][32]byte }

// ticketKeySize is that of Envoy's keys.
const ticketKeySize = 80

// ParseTicketKeys reads keys of 80 bytes, as Envoy takes them.
func ParseTicketKeys(raw [][]byte) (*TicketKeys, error) {
	if len(raw) == 0 {
		return nil, errors.New("there is no key")
	}
	t := &TicketKeys{}
	for i, k := range raw {
		if len(k) != ticketKeySize {
			return nil, fmt.Errorf("keys[%d]: %d bytes: want %d", i, len(k), ticketKeySize)
		}
		t.keys = append(t.keys, sha256.Sum256(k))
	}
	return t, nil
}

// freshTickets follows a secret with ticket keys: one comparison per handshake.
func (s *ServerTLS) freshTickets() error {
	if s.tickets == nil {
		return nil
	}
	keys := s.tickets.tickets.Load()
	if keys == nil {
		return fmt.Errorf("secret %q with the session ticket keys has not arrived", s.tickets.name)
	}
	if s.ticketsOf.Load() == keys {
		return nil
	}
	s.cfg.SetSessionTicketKeys(keys.keys)
	s.ticketsOf.Store(keys) // after, so that no handshake goes on with keys that were not set
	return nil
}
