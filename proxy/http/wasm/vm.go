package wasm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/weftmesh/weft/proxy/filter"
)

// rootContext is the id of the context of the plug-in itself.
const rootContext = 1

// vm is one virtual machine of a plug-in. Everything in it is guarded by mu, which whoever calls into it holds.
type vm struct {
	mu      sync.Mutex
	core    *core
	runtime wazero.Runtime
	mem     api.Memory
	fn      functions
	// next is the id of the next context.
	next    uint32
	streams map[uint32]*instance
	calls   map[uint32]*call
	token   uint32
	// current is the context that the machine runs for; nil: the plug-in's own. another is the one that it has asked
	// to speak for instead.
	current *instance
	another uint32
	// answer is that of the call that it is told of.
	answer *filter.Answer
	// status is that of the last call's answer.
	stack  [8]uint64
	dead   bool
	ticker chan struct{} // closed to end the present one; nil: there is none
}

// functions are what the module has; nil: it does not care.
type functions struct {
	malloc, create, start, configure, tick, done, log, del, callResponse, queueReady api.Function
	reqHeaders, reqBody, reqTrailers, respHeaders, respBody, respTrailers            api.Function
}

// call is an HTTP call under way.
type call struct {
	cancel func()
	x      *instance // nil: the plug-in's own
}

// newVM starts a machine and has the plug-in configure itself.
func newVM(c *core) (*vm, error) {
	ctx := c.ctx
	v := &vm{core: c, next: rootContext + 1, streams: map[uint32]*instance{}, calls: map[uint32]*call{}}
	v.runtime = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCompilationCache(compiled).WithMemoryLimitPages(maxPages))
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.begin(ctx); err != nil {
		_ = v.runtime.Close(ctx)
		return nil, err
	}
	return v, nil
}

// maxPages bounds a machine's memory: 256 MiB.
const maxPages = 4096

// compiled is the machine code of modules, shared by all machines of the process.
var compiled = wazero.NewCompilationCache()

func (v *vm) begin(ctx context.Context) error {
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, v.runtime); err != nil {
		return err
	}
	if err := v.host(ctx); err != nil {
		return err
	}
	code, err := v.runtime.CompileModule(ctx, v.core.code)
	if err != nil {
		return fmt.Errorf("is no module that can be run: %w", err)
	}
	exports := code.ExportedFunctions()
	abi := ""
	for name := range exports {
		if version, ok := strings.CutPrefix(name, "proxy_abi_version_"); ok {
			abi = version
		}
	}
	if abi != "0_1_0" && abi != "0_2_0" && abi != "0_2_1" {
		return fmt.Errorf("has no ABI of proxy-wasm that Weft knows (0.1.0, 0.2.0, 0.2.1): %q", abi)
	}
	conf := wazero.NewModuleConfig().WithName("").WithSysNanotime().WithSysWalltime().WithRandSource(rand.Reader).
		WithStdout(logger{v.core, levelInfo}).WithStderr(logger{v.core, levelError}).WithStartFunctions()
	for name, value := range v.core.env {
		conf = conf.WithEnv(name, value)
	}
	mod, err := v.runtime.InstantiateModule(ctx, code, conf)
	if err != nil {
		return fmt.Errorf("cannot be started: %w", err)
	}
	if v.mem = mod.Memory(); v.mem == nil {
		return errors.New("exports no memory")
	}
	v.find(mod)
	if v.fn.malloc == nil {
		return errors.New("exports neither proxy_on_memory_allocate nor malloc")
	}
	for _, name := range []string{"_initialize", "_start"} {
		if f := mod.ExportedFunction(name); f != nil {
			if _, err := f.Call(ctx); err != nil {
				return fmt.Errorf("cannot be started: %w", err)
			}
			break
		}
	}
	return v.configure()
}

// configure makes the plug-in's own context, and gives it its configuration.
func (v *vm) configure() error {
	if _, err := v.run(v.fn.create, rootContext, 0); err != nil {
		return err
	}
	for _, step := range []struct {
		f    api.Function
		size int
		what string
	}{{v.fn.start, len(v.core.vmConfig), "the machine"}, {v.fn.configure, len(v.core.config), "its configuration"}} {
		if step.f == nil {
			continue
		}
		r, err := v.run(step.f, rootContext, uint64(step.size)) //nolint:gosec // a size
		if err != nil {
			return err
		}
		if r == 0 {
			return fmt.Errorf("the plug-in refuses %s", step.what)
		}
	}
	return nil
}

func (v *vm) find(mod api.Module) {
	get := func(names ...string) api.Function {
		for _, n := range names {
			if f := mod.ExportedFunction(n); f != nil {
				return f
			}
		}
		return nil
	}
	v.fn = functions{
		malloc: get("proxy_on_memory_allocate", "malloc"), create: get("proxy_on_context_create"),
		start: get("proxy_on_vm_start"), configure: get("proxy_on_configure"), tick: get("proxy_on_tick"),
		done: get("proxy_on_done"), log: get("proxy_on_log"), del: get("proxy_on_delete"),
		callResponse: get("proxy_on_http_call_response"), queueReady: get("proxy_on_queue_ready"),
		reqHeaders: get("proxy_on_request_headers"), reqBody: get("proxy_on_request_body"), reqTrailers: get("proxy_on_request_trailers"),
		respHeaders: get("proxy_on_response_headers"), respBody: get("proxy_on_response_body"), respTrailers: get("proxy_on_response_trailers"),
	}
}

// run calls a function of the module, which may be nil, and returns its result. It is called with mu held. After an
// error the machine is dead.
func (v *vm) run(f api.Function, args ...uint64) (uint64, error) {
	if f == nil {
		return 0, nil
	}
	if v.dead {
		return 0, errDead
	}
	n := len(f.Definition().ParamTypes())
	if n > len(v.stack) {
		return 0, v.die(errors.New("a function of the module has more parameters than its ABI has"))
	}
	clear(v.stack[:])
	copy(v.stack[:n], args)
	v.another = 0
	if err := f.CallWithStack(v.core.ctx, v.stack[:max(n, 1)]); err != nil {
		return 0, v.die(err)
	}
	return v.stack[0] & 0xffffffff, nil
}

var errDead = errors.New("the plug-in's machine has failed")

// die notes that the machine can be used no more.
func (v *vm) die(err error) error {
	v.dead = true
	v.stopTicking()
	v.core.failed(v, err)
	return fmt.Errorf("the plug-in has failed: %w", err)
}

// close ends the machine, and all that it has under way.
func (v *vm) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.dead = true
	v.stopTicking()
	for _, c := range v.calls {
		if c.cancel != nil {
			c.cancel()
		}
	}
	clear(v.calls)
	_ = v.runtime.Close(v.core.ctx)
}

func (v *vm) stopTicking() {
	if v.ticker != nil {
		close(v.ticker)
		v.ticker = nil
	}
}

// tickEvery has the plug-in called at intervals; 0: no more.
func (v *vm) tickEvery(d time.Duration) {
	v.stopTicking()
	if d == 0 || v.fn.tick == nil {
		return
	}
	end := make(chan struct{})
	v.ticker = end
	go func() {
		t := time.NewTicker(d)
		defer t.Stop()
		for {
			select {
			case <-end:
				return
			case <-t.C:
			}
			v.root(func() { _, _ = v.run(v.fn.tick, rootContext) })
		}
	}()
}

// root runs something for the plug-in itself, on a goroutine that holds no lock.
func (v *vm) root(f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.dead {
		return
	}
	v.current = nil
	f()
}

// give copies bytes into memory that the module allocates, and says where.
func (v *vm) give(b string, at, size uint32) uint32 {
	var where uint64
	if len(b) > 0 {
		var stack [1]uint64
		stack[0] = uint64(len(b))
		if err := v.fn.malloc.CallWithStack(v.core.ctx, stack[:]); err != nil {
			return internal
		}
		where = stack[0] & 0xffffffff
		if where == 0 || !v.mem.WriteString(uint32(where), b) { //nolint:gosec // 32 bits by the mask
			return badMemory
		}
	}
	if !v.mem.WriteUint32Le(at, uint32(where)) || !v.mem.WriteUint32Le(size, uint32(len(b))) { //nolint:gosec // as above
		return badMemory
	}
	return ok
}

// text is a copy of memory; not valid: it is none of the module's.
func (v *vm) text(at, size uint32) (string, bool) {
	b, valid := v.mem.Read(at, size)
	return string(b), valid
}

// logger writes what a module prints, by lines.
type logger struct {
	core  *core
	level uint32
}

// Write implements io.Writer.
func (l logger) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		l.core.say(l.level, strings.TrimRight(line, "\n"))
	}
	return len(b), nil
}

var _ io.Writer = logger{}
