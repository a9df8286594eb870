package pool

// none marks the absence of a slot.
const none int32 = -1

// rotation is a ring of key slots in the order in which they will be used.
// Taking, adding and removing cost the same for any number of keys, and the
// turn of the others never changes: a key that leaves hands its turn to nobody,
// a key that comes queues up behind all others.
type rotation struct {
	next, prev []int32 // by slot; none: not in the ring
	cursor     int32   // whose turn it is; none: the ring is empty
	n          int
}

func newRotation(slots int) rotation {
	r := rotation{cursor: none}
	r.grow(slots)
	return r
}

// grow makes room for slots 0 to n-1.
func (r *rotation) grow(n int) {
	for len(r.next) < n {
		r.next = append(r.next, none)
		r.prev = append(r.prev, none)
	}
}

func (r *rotation) has(slot int32) bool { return r.next[slot] != none }

// add puts a slot at the end of the queue.
func (r *rotation) add(slot int32) {
	if r.has(slot) {
		return
	}
	r.n++
	if r.cursor == none {
		r.next[slot], r.prev[slot], r.cursor = slot, slot, slot
		return
	}
	last := r.prev[r.cursor]
	r.next[last], r.prev[slot] = slot, last
	r.next[slot], r.prev[r.cursor] = r.cursor, slot
}

func (r *rotation) remove(slot int32) {
	if !r.has(slot) {
		return
	}
	r.n--
	if r.n == 0 {
		r.cursor = none
	} else {
		r.next[r.prev[slot]], r.prev[r.next[slot]] = r.next[slot], r.prev[slot]
		if r.cursor == slot {
			r.cursor = r.next[slot]
		}
	}
	r.next[slot], r.prev[slot] = none, none
}

// take returns the slot whose turn it is among those not in except, which is
// short, and moves that slot to the end of the queue. The turn of an excepted
// slot is kept for it. It returns none if nothing is left.
func (r *rotation) take(except []int32) int32 {
	slot := r.cursor
	if slot == none {
		return none
	}
	for seen := 0; contains(except, slot); seen++ {
		if seen == len(except) || seen == r.n {
			return none
		}
		slot = r.next[slot]
	}
	if slot == r.cursor {
		r.cursor = r.next[slot]
		return slot
	}
	r.remove(slot)
	r.add(slot)
	return slot
}

func contains(slots []int32, slot int32) bool {
	for _, s := range slots {
		if s == slot {
			return true
		}
	}
	return false
}
