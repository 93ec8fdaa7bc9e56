package admission

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	admissionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/admission_control/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
)

// Kind describes the filter.
func Kind() filter.HTTPKind {
	return filter.HTTPKind{
		Name:     Name,
		TypeURLs: []string{"type.googleapis.com/" + message},
		Parse: func(ctx *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
			f, err := parse(ctx, a)
			if err != nil {
				return nil, err
			}
			f.rejected, f.success = ctx.Counter("admission_control.rq_rejected"), ctx.Counter("admission_control.rq_success")
			f.failure = ctx.Counter("admission_control.rq_failure")
			return f, nil
		},
	}
}

const message = "envoy.extensions.filters.http.admission_control.v3.AdmissionControl"

var supported = strict.Table{
	message:                      "enabled success_criteria sampling_window aggression sr_threshold rps_threshold max_rejection_probability",
	message + ".SuccessCriteria": "http_criteria grpc_criteria",
	message + ".SuccessCriteria.HttpCriteria": "http_success_status",
	message + ".SuccessCriteria.GrpcCriteria": "grpc_success_status",
	"envoy.type.v3.Int32Range":                "start end",
	"envoy.type.v3.Percent":                   "value",
	"envoy.config.core.v3.RuntimeFeatureFlag": "default_value runtime_key",
	"envoy.config.core.v3.RuntimeDouble":      "default_value runtime_key",
	"envoy.config.core.v3.RuntimePercent":     "default_value runtime_key",
	"envoy.config.core.v3.RuntimeUInt32":      "default_value runtime_key",
}

// Envoy's defaults.
const (
	defaultWindow = 30 * time.Second
	defaultRate   = 95
	defaultMost   = 80
)

func parse(ctx *filter.ParseContext, a *anypb.Any) (*factory, error) {
	m := &admissionv3.AdmissionControl{}
	if err := match.Open(a, m, supported); err != nil {
		return nil, err
	}
	f := &factory{
		enabled: match.Flag(ctx, m.Enabled),
		window:  window{length: defaultWindow}, aggression: match.Double(ctx, m.Aggression, 1), rate: match.Percent(ctx, m.SrThreshold, defaultRate),
		most: match.Percent(ctx, m.MaxRejectionProbability, defaultMost), leastRPS: match.Whole(ctx, m.RpsThreshold), random: rand.Uint64, now: time.Now,
	}
	if m.SamplingWindow != nil {
		f.window.length = m.SamplingWindow.AsDuration()
	}
	if f.window.length < time.Second {
		return nil, errors.New("sampling_window: is less than a second")
	}
	if f.rate.Default < 1 {
		return nil, errors.New("sr_threshold: is less than 1 %")
	}
	return f, f.criteria(m.GetSuccessCriteria())
}

func (f *factory) criteria(m *admissionv3.AdmissionControl_SuccessCriteria) error {
	f.http = []span{{0, 500}}
	if h := m.GetHttpCriteria(); h != nil {
		f.http = nil
		for i, r := range h.HttpSuccessStatus {
			if r.Start < 100 || r.End > 600 || r.Start >= r.End {
				return fmt.Errorf("success_criteria.http_criteria.http_success_status[%d]: [%d, %d) is not between 100 and 600", i, r.Start, r.End)
			}
			f.http = append(f.http, span{int(r.Start), int(r.End)})
		}
	}
	codes := []uint32{0, 1, 2, 3, 5, 6, 9, 11, 12, 16}
	if g := m.GetGrpcCriteria(); g != nil {
		codes = g.GrpcSuccessStatus
	}
	for i, c := range codes {
		if c > 16 {
			return fmt.Errorf("success_criteria.grpc_criteria.grpc_success_status[%d]: %d is no status", i, c)
		}
		f.grpc |= 1 << c
	}
	return nil
}
