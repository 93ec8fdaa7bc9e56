package runtime

// Flag is on or off: as the runtime says, else as the configuration does.
type Flag struct {
	Default bool
	Key     *Key // nil: the runtime has no say
}

// On tells whether it is on now.
func (f Flag) On() bool {
	if v := f.Key.Load(); v != nil && v.IsBool {
		return v.Bool
	}
	return f.Default
}

// Number is a number, of the runtime, else of the configuration.
type Number struct {
	Default float64
	Key     *Key
}

// Value is the number now.
func (n Number) Value() float64 { return n.Key.Double(n.Default) }

// Stats are Envoy's statistics "runtime.…" of a Store.
type Stats struct {
	// Loads counts how often the values were put together, Errors the failures to.
	Loads, Errors uint64
	// Keys and Layers are how many there are; Overrides tells whether the admin API
	// has set any.
	Keys, Layers int
	Overrides    bool
}

// Stats are those of now.
func (s *Store) Stats() Stats {
	if s == nil {
		return Stats{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Layers = len(s.layers)
	names := map[string]bool{}
	for _, l := range s.layers {
		st.Overrides = st.Overrides || l.Admin && len(l.values) > 0
		for n := range l.values {
			names[n] = true
		}
	}
	st.Keys = len(names)
	return st
}
