package up

import (
	"context"
	"errors"
	"runtime"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weftmesh/weft/host"
	"github.com/weftmesh/weft/wire"
	"github.com/weftmesh/weft/wire/metricpb"
	"github.com/weftmesh/weft/wire/push"
)

// reportUsage tells the control plane what programs use of the machine, while a limit's condition asks for it.
func (m *mesh) reportUsage(ctx context.Context) error {
	conn, err := grpc.NewClient("unix:"+m.dir.Join(wire.XDSSocketFile), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	u := usage{host: m.host, before: map[string]used{}}
	r := push.Reporter{
		Name: "weft up", Names: []string{"cpu", "cpu_limit", "memory", "memory_limit"}, Samples: u.samples, Log: m.Log,
	}
	if err := r.Run(ctx, conn); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// usage makes rates of what programs have used.
type usage struct {
	host   *host.Host
	before map[string]used
}

type used struct {
	at  time.Time
	cpu time.Duration
}

// samples are the numbers of the time since the call before.
func (u *usage) samples(begin bool) (out []*metricpb.Sample) {
	if begin {
		clear(u.before)
	}
	now := time.Now()
	after := map[string]used{}
	total, memory := float64(runtime.NumCPU()), host.Memory()
	for _, x := range u.host.Usage() {
		if x.Part != host.PartProgram {
			continue
		}
		add := func(name string, v float64) {
			out = append(out, &metricpb.Sample{Namespace: x.Namespace, Workload: x.Workload, Name: name, Value: v})
		}
		add("memory", float64(x.Memory))
		add("memory_limit", memory)
		add("cpu_limit", total)
		key := x.Namespace + "/" + x.Workload
		after[key] = used{now, x.CPU}
		// A program that was started again has used less than before.
		if b, ok := u.before[key]; ok && now.After(b.at) && x.CPU >= b.cpu {
			add("cpu", float64(x.CPU-b.cpu)/float64(now.Sub(b.at)))
		}
	}
	u.before = after
	return out
}
