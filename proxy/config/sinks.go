package config

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
)

// StatsSink is a statsd server that statistics go to.
type StatsSink struct {
	Address netip.AddrPort
	Prefix  string
	// Tags: in DogStatsD's form.
	Tags bool
	// MaxDatagram is how many bytes go into a datagram; 0: one metric.
	MaxDatagram int
}

// usualFlush is Envoy's interval.
const usualFlush = 5 * time.Second

// observability reads where statistics and spans go.
func (b *Bootstrap) observability(m *bootstrapv3.Bootstrap) error {
	b.FlushInterval = usualFlush
	if d := m.GetStatsFlushInterval(); d != nil {
		b.FlushInterval = d.AsDuration()
	}
	for i, s := range m.StatsSinks {
		one, err := statsSink(s)
		if err != nil {
			return at(err, "stats_sinks[%d].typed_config", i)
		}
		b.Sinks = append(b.Sinks, one)
	}
	if h := m.GetTracing().GetHttp(); h != nil {
		b.Tracing = h
		return at(provider(h, &Tracing{}), "tracing.http.typed_config")
	}
	return nil
}

func statsSink(m *metricsv3.StatsSink) (StatsSink, error) {
	plain, dog := &metricsv3.StatsdSink{}, &metricsv3.DogStatsdSink{}
	s, a := StatsSink{}, (*corev3.Address)(nil)
	switch c := m.GetTypedConfig(); {
	case c.MessageIs(plain):
		if err := unpack(c, plain); err != nil {
			return s, err
		}
		s.Prefix, a = plain.Prefix, plain.GetAddress()
	case c.MessageIs(dog):
		if err := unpack(c, dog); err != nil {
			return s, err
		}
		s.Prefix, a = dog.Prefix, dog.GetAddress()
		s.Tags, s.MaxDatagram = true, int(dog.GetMaxBytesPerDatagram().GetValue())
	default:
		return s, fmt.Errorf("%s is not supported: want statsd or DogStatsD", c.GetTypeUrl())
	}
	if a == nil {
		return s, at(errors.New("is missing"), "address")
	}
	var err error
	s.Address, err = anyAddrPort(a) // of UDP, whatever it says, as in Envoy
	return s, at(err, "address")
}
