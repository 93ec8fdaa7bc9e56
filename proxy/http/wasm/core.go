package wasm

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/base/backoff"
	"github.com/weftmesh/weft/proxy/filter"
)

// maxMachines bounds the machines of one plug-in: each has its own memory.
const maxMachines = 4

// plugin is a plug-in as configurations hold it: when nobody does any more, its machines end.
type plugin struct{ core *core }

// core is what the machines of a plug-in have in common.
type core struct {
	name, rootID, vmID, vmConfig, config string

	env      map[string]string
	code     []byte
	failOpen bool
	calls    filter.Caller
	// knows tells whether there is a cluster; nil: that is not known.
	knows   func(cluster string) bool
	node    map[string]any
	room    *shared
	metrics *metrics
	log     *slog.Logger
	// errors counts failures of machines.
	errors *filter.Counter

	next     atomic.Uint32
	machines [maxMachines]atomic.Pointer[vm]
	mu       sync.Mutex
	closed   bool
	stop     context.CancelFunc
	ctx      context.Context //nolint:containedctx // of the machines' replacement
}

// load compiles the code and starts the machines. An error says what is wrong with the module.
func (c *core) load(code []byte) error {
	c.code = code
	n := min(runtime.GOMAXPROCS(0), maxMachines)
	for i := range n {
		v, err := newVM(c)
		if err != nil {
			c.close()
			return err
		}
		c.machines[i].Store(v)
	}
	return nil
}

// pick is the machine of a new stream; nil: none runs now.
func (c *core) pick() *vm {
	for range maxMachines {
		if v := c.machines[c.next.Add(1)%maxMachines].Load(); v != nil {
			return v
		}
	}
	return nil
}

// failed takes a machine out, and has another put in its place. The machine's lock is held.
func (c *core) failed(v *vm, err error) {
	c.errors.Add(1)
	c.log.Error("a plug-in has failed: its machine is replaced", "plugin", c.name, "error", err)
	for i := range c.machines {
		if c.machines[i].CompareAndSwap(v, nil) {
			go c.replace(i, v)
			return
		}
	}
}

// replace starts a machine in place of one that failed: at once is too soon for one that fails at once.
func (c *core) replace(i int, old *vm) {
	old.close()
	wait := backoff.Backoff{Min: time.Second, Max: time.Minute}
	for {
		if wait.Wait(c.ctx) != nil {
			return
		}
		v, err := newVM(c)
		if err != nil {
			c.log.Error("a plug-in cannot be started again", "plugin", c.name, "error", err)
			continue
		}
		c.mu.Lock()
		closed := c.closed
		if !closed {
			c.machines[i].Store(v)
		}
		c.mu.Unlock()
		if closed {
			v.close()
		}
		return
	}
}

// close ends all machines.
func (c *core) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.stop()
	for i := range c.machines {
		if v := c.machines[i].Swap(nil); v != nil {
			v.close()
		}
	}
}

// Levels of logs.
const (
	levelTrace = iota
	levelDebug
	levelInfo
	levelWarn
	levelError
	levelCritical
)

// say logs what a plug-in says.
func (c *core) say(level uint32, text string) {
	l := slog.LevelInfo
	switch level {
	case levelTrace, levelDebug:
		l = slog.LevelDebug
	case levelWarn:
		l = slog.LevelWarn
	case levelError, levelCritical:
		l = slog.LevelError
	}
	c.log.Log(c.ctx, l, text, "plugin", c.name)
}

// about is a property of the plug-in and the proxy.
func (c *core) about(path []string) (string, bool) {
	switch path[0] {
	case "plugin_name":
		return c.name, true
	case "plugin_root_id":
		return c.rootID, true
	case "plugin_vm_id":
		return c.vmID, true
	case "node":
		return walk(c.node, path[1:])
	}
	return "", false
}
