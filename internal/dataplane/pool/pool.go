// Package pool lends keys: the step between authentication and forwarding. It
// holds every key of one provider in memory, hands them out in rotation, takes
// them out of it when an answer speaks against them and back in when their
// time has come, and holds requests back while the upstream is down.
package pool

import (
	"encoding/binary"
	"encoding/hex"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Settings are the times of a pool's marks, from the configuration.
type Settings struct {
	FailedFor        time.Duration // how long a refused key stays out
	DisableThreshold int           // failures in a row after which it is disabled
	DisabledFor      time.Duration // how long it is disabled then
}

const bearerPrefix = "Bearer "

// Pool is the keys of one provider with their state. All methods may be called
// concurrently; none waits for anything but the pool's own short lock.
type Pool struct {
	provider gateway.ProviderName
	settings Settings

	mu       sync.Mutex // guards all that follows
	keys     []entry    // by slot
	free     []int32    // slots without a key
	byID     map[uint64]int32
	accounts map[uint64]int32 // account -> one of its slots
	seed     maphash.Seed     // of the accounts' numbers
	main     rotation
	models   map[string]*restricted // models that some keys may not use
	returns  agenda                 // when keys that are out come back
	changes  agenda                 // what else time does to a key: one mark of several ends, or its life
	counts   [statusKinds]int
	seq      uint64 // counts changes of state, to tell what began before one
	breaker  breaker
	guard    guard
	probes   uint32 // the number of the latest probe
	warmed   uint32 // keeps the compiler from dropping the reads of warm

	dirtyStates, dirtyCounts []int32
	dirtyRefusals            []gateway.Refusal
	stored                   []stored // by slot
}

// marks are what keeps a key out of the rotation. Times are Unix nanoseconds,
// 0 for none.
type marks struct {
	failedUntil, disabledUntil, restsUntil int64
	lastError                              string
	consecutive                            int32
	disabled                               uint8 // index in disabledReasons
	restStep                               uint8
}

// entry is one key. What a pick reads stands in its first 32 bytes, and its
// size is a multiple of that, so that a pick touches one line of the
// processor's cache.
type entry struct {
	bearer           string // the Authorization header's value, ready made
	id               uint64
	gen              uint32
	status           status
	live             bool
	careful          bool  // a pick has to look further: the key's life ends, or it comes from a rest of unknown length
	excused          uint8 // how often it was let off as one of many since it served
	marks            marks
	account          uint64 // 0: none
	expiresAt        int64
	changed          uint64 // Pool.seq of its latest change of state
	accNext, accPrev int32  // ring of the account's keys
	probe            uint32 // the probe that is under way with it, see beginProbe; 0: none
	heldBy           uint32 // the probe whose end it waits for; 0: none
	total, ok, bad   int32  // attempts not yet written down
	stateDirty       bool
	countsDirty      bool
	lastUsed         int64
	lastOK, lastBad  int64
}

type status uint8

const (
	active status = iota
	resting
	failed
	disabled
	expired
	statusKinds
)

var statusNames = [statusKinds]gateway.KeyStatus{gateway.KeyActive, gateway.KeyResting, gateway.KeyFailed, gateway.KeyDisabled, gateway.KeyExpired}

// Who disabled a key: the index in disabledReasons.
const (
	nobody uint8 = iota
	automatic
	byHand
)

var disabledReasons = [...]gateway.DisabledReason{nobody: gateway.NotDisabled, automatic: gateway.DisabledAuto, byHand: gateway.DisabledManual}

// New makes an empty pool.
func New(provider gateway.ProviderName, s Settings) *Pool {
	return &Pool{
		provider: provider,
		settings: s,
		byID:     map[uint64]int32{},
		accounts: map[uint64]int32{},
		seed:     maphash.MakeSeed(),
		main:     newRotation(0),
		models:   map[string]*restricted{},
		breaker:  breaker{reserve: retryReserve},
		guard:    guard{accepted: none},
	}
}

// Provider names the provider whose keys these are.
func (p *Pool) Provider() gateway.ProviderName { return p.provider }

// Put adds a key with the state it is stored with, and reports false if the
// pool has it already.
func (p *Pool) Put(k gateway.Key, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := idNumber(gateway.IDOfKey(k.Secret))
	if _, ok := p.byID[id]; ok {
		return false
	}
	slot := p.newSlot()
	e := &p.keys[slot]
	*e = entry{
		bearer:    bearerPrefix + k.Secret.Reveal(),
		id:        id,
		gen:       e.gen + 1,
		expiresAt: nano(k.ExpiresAt),
		marks:     marksOf(k.State),
		lastOK:    nano(k.Counts.LastSuccess),
		live:      true,
		status:    statusKinds, // none yet
	}
	p.stored[slot] = stored{version: k.Version}
	p.byID[id] = slot
	p.joinAccount(slot, gateway.AccountOf(k.Username))
	p.refresh(slot, now.UnixNano())
	return true
}

func (p *Pool) newSlot() int32 {
	if n := len(p.free); n > 0 {
		slot := p.free[n-1]
		p.free = p.free[:n-1]
		return slot
	}
	p.keys = append(p.keys, entry{})
	p.stored = append(p.stored, stored{})
	n := len(p.keys)
	p.makeRoom(n)
	return int32(n - 1) //nolint:gosec // a pool of two billion keys does not fit in memory
}

// Grow makes room for n more keys, so that loading many does not copy them
// over and over.
func (p *Pool) Grow(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n <= cap(p.keys)-len(p.keys) {
		return
	}
	n += len(p.keys)
	p.keys = append(make([]entry, 0, n), p.keys...)
	p.stored = append(make([]stored, 0, n), p.stored...)
	p.makeRoom(n)
}

// makeRoom prepares everything that is kept by slot for n slots.
func (p *Pool) makeRoom(n int) {
	p.main.grow(n)
	p.returns.grow(n)
	p.changes.grow(n)
	for _, m := range p.models {
		m.rotation.grow(n)
		m.ends.grow(n)
	}
}

// Remove takes a key out of the pool for good. Requests that hold it finish.
func (p *Pool) Remove(id gateway.KeyID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	slot, ok := p.byID[idNumber(id)]
	if !ok {
		return false
	}
	e := &p.keys[slot]
	p.endProbe(slot, e.probe)
	p.guard.distrust(slot)
	p.leaveRotations(slot)
	p.readmitAll(slot)
	p.returns.set(slot, 0)
	p.changes.set(slot, 0)
	p.leaveAccount(slot)
	p.counts[e.status]--
	delete(p.byID, e.id)
	p.keys[slot] = entry{gen: e.gen + 1}
	p.stored[slot] = stored{}
	p.free = append(p.free, slot)
	return true
}

// SetState replaces a key's marks, as when an operator enables or disables it.
// The change is not handed to Drain: whoever calls has stored it already, over
// the version that the pool knows. Where others may have changed it before,
// Follow is to be called with what is stored then.
func (p *Pool) SetState(id gateway.KeyID, s gateway.KeyState, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	slot, ok := p.byID[idNumber(id)]
	if !ok {
		return false
	}
	known := &p.stored[slot]
	*known = stored{version: known.version + int64(known.wrote) + 1}
	p.replaceMarks(slot, marksOf(s), now.UnixNano())
	return true
}

// ClearRefusals forgets which models a key may not use.
func (p *Pool) ClearRefusals(id gateway.KeyID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	slot, ok := p.byID[idNumber(id)]
	if !ok {
		return
	}
	p.forgetRefusals(slot)
}

func (p *Pool) forgetRefusals(slot int32) {
	p.readmitAll(slot)
	if len(p.dirtyRefusals) > 0 {
		id := idName(p.keys[slot].id)
		p.dirtyRefusals = slices.DeleteFunc(p.dirtyRefusals, func(r gateway.Refusal) bool { return r.Key == id })
	}
}

// State returns a key's state and status as they are in memory.
func (p *Pool) State(id gateway.KeyID) (gateway.KeyState, gateway.KeyStatus, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	slot, ok := p.byID[idNumber(id)]
	if !ok {
		return gateway.KeyState{}, "", false
	}
	e := &p.keys[slot]
	return e.marks.state(), statusNames[e.status], true
}

// Has reports whether the pool holds a key.
func (p *Pool) Has(id gateway.KeyID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.byID[idNumber(id)]
	return ok
}

// Len is how many keys there are, whatever their state.
func (p *Pool) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.byID)
}

// Counts is how many keys there are of each status.
func (p *Pool) Counts() map[gateway.KeyStatus]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := make(map[gateway.KeyStatus]int, statusKinds)
	for i, n := range p.counts {
		m[statusNames[i]] = n
	}
	return m
}

// Tick brings back what is due: keys whose rest is over, keys that may use a
// model again, keys whose life has ended. Calling it often is cheap; without
// it keys come back a few at a time as others are asked for.
func (p *Pool) Tick(now time.Time) {
	for {
		p.mu.Lock()
		more := p.settleDue(now.UnixNano(), tickBatch)
		more = p.settleRefusals(now.UnixNano(), tickBatch) || more
		p.mu.Unlock()
		if !more {
			return
		}
	}
}

const (
	tickBatch = 512 // appointments kept under one hold of the lock
	pickBatch = 4   // appointments kept by one pick
)

// settleDue keeps up to limit appointments of each agenda that are due and
// reports whether more may be.
func (p *Pool) settleDue(now int64, limit int) bool {
	more := p.settle(&p.returns, now, limit)
	return p.settle(&p.changes, now, limit) || more
}

func (p *Pool) settle(a *agenda, now int64, limit int) bool {
	for range limit {
		if !a.due(now) {
			return false
		}
		p.passTime(a.heap[0].slot, now)
	}
	return true
}

// passTime brings a key's status up to date. There is nothing to write down: the
// status at a time follows from what is stored, for everybody alike, and keys
// often come back by the thousands in the same second.
func (p *Pool) passTime(slot int32, now int64) {
	e := &p.keys[slot]
	before := e.status
	p.refresh(slot, now)
	if e.status != before {
		p.touch(e)
	}
}

func idNumber(id gateway.KeyID) uint64 {
	var b [8]byte
	if len(id) != gateway.KeyIDLen {
		return 0
	}
	if _, err := hex.Decode(b[:], []byte(id)); err != nil {
		return 0
	}
	return binary.BigEndian.Uint64(b[:])
}

func idName(id uint64) gateway.KeyID {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], id)
	return gateway.KeyID(hex.EncodeToString(b[:]))
}

func nano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNano(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
