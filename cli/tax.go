package cli

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

// Tax is what the mesh costs: one row of `weft tax`, for one proxy.
type Tax struct {
	Proxy  string `json:"proxy"`
	Engine string `json:"engine"`
	// CPU in cores over the interval, Memory in bytes resident.
	CPU    float64 `json:"cpu"`
	Memory float64 `json:"memory"`
	// Rate is requests per second; Micros CPU microseconds per request, -1 without requests.
	Rate   float64 `json:"rate"`
	Micros float64 `json:"cpuMicrosPerRequest"`
	// Added50 and Added99 are milliseconds between the arrival of a message and
	// its sending on, both directions of a request together; -1 without requests.
	Added50 float64 `json:"addedP50"`
	Added99 float64 `json:"addedP99"`
}

// Metrics that every engine's proxy has for this table.
const (
	metricCPU    = "weft_proxy_cpu_seconds_total"
	metricMemory = "weft_proxy_resident_bytes"
	metricAdded  = "weft_added_latency_milliseconds"
	metricServed = "istio_requests_total"
)

func (e *Env) taxCommand() *cobra.Command {
	var interval time.Duration
	c := &cobra.Command{
		Use:   "tax",
		Short: "Show what the mesh costs here and now: added latency, CPU, memory",
		Long: `Tax reads the proxies' own figures twice and shows what they spent between: CPU, memory,
CPU per request, and the latency that the proxy itself added (the time from a message's arrival
to its sending on, request and response together; the network and the program are not in it).`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			before, err := e.scrape(c.Context())
			if err != nil {
				return err
			}
			if terminal(c.ErrOrStderr()) {
				fmt.Fprintf(c.ErrOrStderr(), "looking for %s …\n", interval)
			}
			if err := pause(c.Context(), interval); err != nil {
				return nil //nolint:nilerr // interrupted: the ordinary end
			}
			list, err := e.taxes(c.Context(), before)
			if err != nil {
				return err
			}
			return e.print(c, list, func() *Table { return taxTable(list) })
		},
	}
	c.Flags().DurationVar(&interval, "interval", 5*time.Second, "how long to look")
	e.meshFlag(c)
	e.outputFlag(c)
	return c
}

func (e *Env) taxes(ctx context.Context, before []sample) ([]Tax, error) {
	now, err := e.scrape(ctx)
	if err != nil {
		return nil, err
	}
	old := map[string]*sample{}
	for i := range before {
		old[before[i].instance.Name+"."+before[i].instance.Namespace] = &before[i]
	}
	list := []Tax{}
	total := Tax{Proxy: "total", Micros: -1, Added50: -1, Added99: -1}
	all := buckets{}
	served := 0.0
	for i := range now {
		n := &now[i]
		name := n.instance.Name + "." + n.instance.Namespace
		b := old[name]
		if b == nil || n.err != nil || b.err != nil {
			continue
		}
		seconds := n.at.Sub(b.at).Seconds()
		requests := max(0, n.gauge(metricServed)-b.gauge(metricServed))
		added := buckets{}
		for _, m := range n.families[metricAdded].GetMetric() {
			added.add(m.GetHistogram(), 1)
		}
		for _, m := range b.families[metricAdded].GetMetric() {
			added.add(m.GetHistogram(), -1)
		}
		row := Tax{
			Proxy: name, Engine: n.instance.Engine, Memory: n.gauge(metricMemory), Rate: requests / seconds,
			CPU: max(0, n.gauge(metricCPU)-b.gauge(metricCPU)) / seconds, Micros: -1, Added50: -1, Added99: -1,
		}
		row.quantiles(added, requests, seconds)
		for x, v := range added {
			all[x] += v
		}
		served += requests
		total.CPU += row.CPU
		total.Memory += row.Memory
		total.Rate += row.Rate
		list = append(list, row)
	}
	slices.SortFunc(list, func(a, b Tax) int { return cmp.Compare(a.Proxy, b.Proxy) })
	if len(now) > 0 && len(before) > 0 {
		total.quantiles(all, served, now[0].at.Sub(before[0].at).Seconds())
	}
	return append(list, total), nil
}

func (t *Tax) quantiles(added buckets, requests, seconds float64) {
	if requests > 0 {
		t.Micros = t.CPU * seconds * 1e6 / requests
	}
	if p := added.quantile(.5); !math.IsNaN(p) {
		t.Added50, t.Added99 = p, added.quantile(.99)
	}
}

func taxTable(list []Tax) *Table {
	t := &Table{Head: []string{"PROXY", "ENGINE", "CPU", "MEMORY", "REQUESTS/S", "CPU/REQUEST", "ADDED P50", "ADDED P99"}, Empty: "no proxies"}
	for _, x := range list {
		micros := "-"
		if x.Micros >= 0 {
			micros = fmt.Sprintf("%.0fµs", x.Micros)
		}
		name := Cell{Text: x.Proxy}
		if x.Proxy == "total" {
			name.Style = Strong
		}
		t.Row(name, x.Engine, fmt.Sprintf("%.1f%%", 100*x.CPU), fmt.Sprintf("%.1f MB", x.Memory/1e6),
			fmt.Sprintf("%.1f", x.Rate), micros, millis(x.Added50), millis(x.Added99))
	}
	return t
}
