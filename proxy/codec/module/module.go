// Package module is the codec of protocols that are WebAssembly modules, by the ABI that docs/CODECS.md describes
// (proxy/codec/guest makes such modules in Go).
//
// A module can do nothing but answer what it is asked: it has WASI's clocks, random numbers and standard output (which
// goes nowhere), no files, no sockets, no environment. A machine has at most 64 MiB, and a call five seconds. One that
// fails, in whatever way, costs the connection that it was called for and the machine, and nothing else. Machines are
// shared by all connections of the protocol, so that a module keeps nothing of one connection between two calls.
//
// Nothing that a module says is believed: sizes, kinds, statuses and addresses outside of its memory are errors.
package module

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/weftmesh/weft/base/limit"
	"github.com/weftmesh/weft/proxy/codec"
)

const (
	// maxPages bounds a machine's memory: 64 MiB.
	maxPages = 1024
	// maxMessage bounds a message: it is copied into a machine whole, beside what is made of it.
	maxMessage = 8 << 20
)

// patience bounds a call, startPatience a machine's start. They are there for modules that never return.
var (
	patience      = 5 * time.Second
	startPatience = 30 * time.Second
)

// code is a module that was compiled, with machines that nobody uses at the moment.
type code struct {
	ctx      context.Context //nolint:containedctx // of machines that are started later
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	idle     chan *machine
}

// New makes the protocol of a module. An error says what is wrong with the module.
//
// ctx gives values to what runs; its end ends nothing.
func New(ctx context.Context, name string, wasm []byte) (*codec.Protocol, error) {
	ctx = context.WithoutCancel(ctx)
	c := &code{
		ctx:  ctx,
		idle: make(chan *machine, runtime.GOMAXPROCS(0)),
		runtime: wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithMemoryLimitPages(maxPages).
			WithCloseOnContextDone(true).WithCoreFeatures(api.CoreFeaturesV2)),
	}
	p, err := c.protocol(ctx, name, wasm)
	if err != nil {
		_ = c.runtime.Close(ctx)
		return nil, err
	}
	return p, nil
}

func (c *code) protocol(ctx context.Context, name string, wasm []byte) (*codec.Protocol, error) {
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, c.runtime); err != nil {
		return nil, err
	}
	var err error
	if c.compiled, err = c.runtime.CompileModule(ctx, wasm); err != nil {
		return nil, fmt.Errorf("is no module that can be run: %w", err)
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	m, err := c.start()
	if err != nil {
		return nil, err
	}
	bits, err := m.call(m.fn[describe])
	if err != nil {
		m.end()
		return nil, err
	}
	c.put(m)
	order := codec.Order(bits & 3) //nolint:gosec // two bits
	if order > codec.OneByOne || bits>>5 != 0 {
		return nil, fmt.Errorf("weft_codec_describe returns %#x, which nothing is known of", bits)
	}
	fresh := func() codec.Codec { return &conn{code: c} }
	if bits&(1<<4) != 0 && m.fn[drain] != nil {
		fresh = func() codec.Codec { return &drainConn{conn{code: c}} }
	}
	return &codec.Protocol{
		Name: name, Order: order, MaxMessage: maxMessage, New: fresh,
		MutableRequests: bits&(1<<2) != 0, MutableResponses: bits&(1<<3) != 0,
	}, nil
}

// The functions of a module.
const (
	describe = iota
	buffer
	decode
	encode
	answer
	ping
	drain
	reset
	functions
)

const i32, i64 = api.ValueTypeI32, api.ValueTypeI64

// signatures are those of the functions; what is optional may be missing.
var signatures = [functions]struct {
	name     string
	in       []api.ValueType
	out      api.ValueType
	optional bool
}{
	describe: {"weft_codec_describe", nil, i32, false},
	buffer:   {"weft_codec_buffer", []api.ValueType{i32}, i32, false},
	decode:   {"weft_codec_decode", []api.ValueType{i32, i32}, i64, false},
	encode:   {"weft_codec_encode", []api.ValueType{i32, i32, i64}, i64, false},
	answer:   {"weft_codec_answer", []api.ValueType{i32, i32, i64, i64, i32}, i64, false},
	ping:     {"weft_codec_ping", nil, i64, true},
	drain:    {"weft_codec_drain", nil, i64, true},
	reset:    {"weft_codec_reset", []api.ValueType{i64}, i64, true},
}

// check holds a module to the ABI, before any of it runs.
func (c *code) check() error {
	exports := c.compiled.ExportedFunctions()
	if exports["weft_codec_abi_1"] == nil {
		return errors.New("does not export weft_codec_abi_1: it is no codec of the ABI that this data plane knows")
	}
	for _, s := range signatures {
		f := exports[s.name]
		switch {
		case f == nil && s.optional:
		case f == nil:
			return fmt.Errorf("does not export %s", s.name)
		case !slices.Equal(f.ParamTypes(), s.in) || !slices.Equal(f.ResultTypes(), []api.ValueType{s.out}):
			return fmt.Errorf("%s has another signature than the ABI says", s.name)
		}
	}
	if c.compiled.ExportedMemories()["memory"] == nil {
		return errors.New("exports no memory")
	}
	return nil
}

// machine is one instance of a module. One goroutine at a time uses it.
type machine struct {
	mod   api.Module
	fn    [functions]api.Function
	limit *limit.Limit
	stack [8]uint64
}

// start makes a machine.
func (c *code) start() (*machine, error) {
	m := &machine{limit: limit.New(c.ctx)}
	conf := wazero.NewModuleConfig().WithName("").WithSysNanotime().WithSysWalltime().WithRandSource(rand.Reader).WithStartFunctions()
	mod, err := c.runtime.InstantiateModule(m.limit, c.compiled, conf)
	if err != nil {
		return nil, fmt.Errorf("cannot be started: %w", err)
	}
	m.mod = mod
	for i := range signatures {
		m.fn[i] = mod.ExportedFunction(signatures[i].name)
	}
	if f := mod.ExportedFunction("_initialize"); f != nil {
		if _, err := m.within(startPatience, f); err != nil {
			m.end()
			return nil, fmt.Errorf("cannot be started: %w", err)
		}
	}
	return m, nil
}

// take is a machine that nobody else uses: one that is idle, or else a new one. It waits for nobody.
func (c *code) take() (*machine, error) {
	select {
	case m := <-c.idle:
		return m, nil
	default:
		return c.start()
	}
}

// put gives one back that has not failed. Those beyond one per processor end.
func (c *code) put(m *machine) {
	select {
	case c.idle <- m:
	default:
		m.end()
	}
}

func (m *machine) end() {
	_ = m.mod.Close(m.limit)
	m.limit.Stop()
}

// call calls a function. After an error the machine is of no use.
func (m *machine) call(f api.Function, args ...uint64) (uint64, error) {
	return m.within(patience, f, args...)
}

func (m *machine) within(most time.Duration, f api.Function, args ...uint64) (uint64, error) {
	clear(m.stack[:])
	copy(m.stack[:], args)
	m.limit.Begin(most)
	defer m.limit.End()
	if err := f.CallWithStack(m.limit, m.stack[:max(len(args), 1)]); err != nil {
		if m.limit.Err() != nil {
			return 0, fmt.Errorf("the codec's module has not answered within %s", most)
		}
		return 0, fmt.Errorf("the codec's module has failed: %w", err)
	}
	return m.stack[0], nil
}

// ask calls a function with bytes, whose size becomes the first of args, or with none (nil),
// and returns what it answers, until the next call.
func (m *machine) ask(function int, in []byte, args ...uint64) ([]byte, error) {
	if in != nil {
		n, err := m.write(in)
		if err != nil {
			return nil, err
		}
		args[0] = n
	}
	at, err := m.call(m.fn[function], args...)
	if err != nil {
		return nil, err
	}
	return m.read(at)
}

// write hands bytes to the module, and returns how many.
func (m *machine) write(b []byte) (uint64, error) {
	at, err := m.call(m.fn[buffer], uint64(len(b)))
	if err != nil {
		return 0, err
	}
	if !m.mod.Memory().Write(uint32(at), b) { //nolint:gosec // an i32
		return 0, errors.New("the codec's module has no room where it says that there is some")
	}
	return uint64(len(b)), nil
}

// read is what a result stands for, until the next call.
func (m *machine) read(at uint64) ([]byte, error) {
	b, ok := m.mod.Memory().Read(uint32(at>>32), uint32(at)) //nolint:gosec // two halves
	if !ok {
		return nil, errors.New("the codec's module answers with memory that it does not have")
	}
	return b, nil
}
