package balance

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// RingSize bounds how many points a ring has, and says how they are hashed:
// by xxHash or by MurmurHash2.
type RingSize struct {
	Min, Max uint64
	Murmur   bool
}

// Ring is ring hashing as Envoy does it: the same keys and weights make the
// same ring, so that both engines agree on where a hash belongs.
func Ring(weights []uint64, keys []string, size RingSize) Balancer {
	sum := xxhash.Sum64
	if size.Murmur {
		sum = Murmur2
	}
	shares := normalize(weights)
	least := slices.Min(shares)
	// The smallest index gets a whole number of points, as long as the ring's
	// greatest size allows.
	scale := min(math.Ceil(least*float64(size.Min))/least, float64(size.Max))
	r := ring{points: make([]point, 0, int(math.Ceil(scale)))}
	var buf []byte
	var have, target float64
	for i, s := range shares {
		target += scale * s
		for k := 0; have < target; k++ {
			buf = append(append(buf[:0], keys[i]...), '_')
			buf = strconv.AppendInt(buf, int64(k), 10)
			r.points = append(r.points, point{sum(buf), uint32(i)})
			have++
		}
	}
	slices.SortFunc(r.points, func(a, b point) int { return cmp.Compare(a.hash, b.hash) })
	return r
}

// Murmur2 is MurmurHash64A with the seed of libstdc++'s hash of strings, which
// is what Envoy calls MURMUR_HASH_2.
func Murmur2(b []byte) uint64 {
	const seed, m = 0xc70f6907, 0xc6a4a7935bd1e995
	h := seed ^ uint64(len(b))*m
	for ; len(b) >= 8; b = b[8:] {
		k := binary.LittleEndian.Uint64(b) * m
		h = (h ^ (k^k>>47)*m) * m
	}
	if len(b) > 0 {
		var rest [8]byte
		copy(rest[:], b)
		h = (h ^ binary.LittleEndian.Uint64(rest[:])) * m
	}
	h = (h ^ h>>47) * m
	return h ^ h>>47
}

// normalize makes the weights add up to 1.
func normalize(weights []uint64) []float64 {
	total := 0.0
	for _, w := range weights {
		total += float64(w)
	}
	out := make([]float64, len(weights))
	for i, w := range weights {
		out[i] = float64(w) / total
	}
	return out
}

type point struct {
	hash  uint64
	index uint32
}

type ring struct{ points []point }

// Pick implements Balancer.
func (r ring) Pick(hash uint64, try int) int {
	lo, hi := 0, len(r.points)
	for lo < hi {
		if mid := (lo + hi) / 2; r.points[mid].hash < hash {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return int(r.points[(lo+try)%len(r.points)].index)
}

// Maglev is Maglev hashing with a table of that prime size, as Envoy does it.
func Maglev(weights []uint64, keys []string, size uint64) Balancer {
	type entry struct {
		index        uint32
		offset, skip uint64
		share        float64
		next         uint64
		due          float64
	}
	shares := normalize(weights)
	most := slices.Max(shares)
	entries := make([]entry, len(keys))
	var seeded xxhash.Digest
	for i, k := range keys {
		seeded.ResetWithSeed(1)
		_, _ = seeded.WriteString(k)
		entries[i] = entry{
			index: uint32(i), offset: xxhash.Sum64String(k) % size,
			skip: seeded.Sum64()%(size-1) + 1, share: shares[i],
		}
	}
	// The order of the keys must not matter.
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(keys[a.index], keys[b.index]) })

	const free = math.MaxUint32
	table := make([]uint32, size)
	for i := range table {
		table[i] = free
	}
	filled := uint64(0)
	for round := 1; filled < size; round++ {
		for i := range entries {
			e := &entries[i]
			// Lighter ones sit out rounds; the heaviest takes part in all.
			if float64(round)*e.share < e.due {
				continue
			}
			e.due += most
			at := (e.offset + e.skip*e.next) % size
			for table[at] != free {
				e.next++
				at = (e.offset + e.skip*e.next) % size
			}
			table[at] = e.index
			e.next++
			if filled++; filled == size {
				break
			}
		}
	}
	return maglev{table}
}

type maglev struct{ table []uint32 }

// Pick implements Balancer.
func (m maglev) Pick(hash uint64, try int) int {
	if try > 0 {
		// Envoy's way to another slot for the same hash.
		hash ^= math.MaxUint64 - uint64(try) + 1
	}
	return int(m.table[hash%uint64(len(m.table))])
}
