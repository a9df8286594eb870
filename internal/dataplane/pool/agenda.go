package pool

// agenda knows which slot has the next appointment: the end of a rest, of a
// mark, of a refusal, or of a key's life. It is a binary heap over slots with
// at most one appointment each.
type agenda struct {
	heap []appointment
	pos  []int32 // by slot: its place in heap; none: no appointment
}

type appointment struct {
	at   int64 // Unix nanoseconds
	slot int32
}

func (a *agenda) grow(n int) {
	a.pos = growSlots(a.pos, n)
}

// first returns the earliest appointment's time, 0 if there is none.
func (a *agenda) first() int64 {
	if len(a.heap) == 0 {
		return 0
	}
	return a.heap[0].at
}

// due reports whether the earliest appointment's time has come.
func (a *agenda) due(now int64) bool { return len(a.heap) > 0 && a.heap[0].at <= now }

// at returns the time of a slot's appointment, 0 if it has none.
func (a *agenda) at(slot int32) int64 {
	if i := a.pos[slot]; i != none {
		return a.heap[i].at
	}
	return 0
}

// set makes, moves or, with at 0, cancels the appointment of a slot.
func (a *agenda) set(slot int32, at int64) {
	i := a.pos[slot]
	switch {
	case at == 0 && i == none:
	case at == 0:
		a.drop(int(i))
	case i == none:
		a.heap = append(a.heap, appointment{at, slot})
		a.up(len(a.heap) - 1)
	default:
		old := a.heap[i].at
		a.heap[i].at = at
		if at < old {
			a.up(int(i))
		} else {
			a.down(int(i))
		}
	}
}

func (a *agenda) drop(i int) {
	last := len(a.heap) - 1
	a.pos[a.heap[i].slot] = none
	moved := a.heap[last]
	a.heap = a.heap[:last]
	if i == last {
		return
	}
	a.heap[i] = moved
	a.up(i)
	a.down(int(a.pos[moved.slot]))
}

func (a *agenda) up(i int) {
	it := a.heap[i]
	for i > 0 {
		parent := (i - 1) / 2
		if a.heap[parent].at <= it.at {
			break
		}
		a.place(i, a.heap[parent])
		i = parent
	}
	a.place(i, it)
}

func (a *agenda) down(i int) {
	it := a.heap[i]
	for {
		child := 2*i + 1
		if child >= len(a.heap) {
			break
		}
		if child+1 < len(a.heap) && a.heap[child+1].at < a.heap[child].at {
			child++
		}
		if it.at <= a.heap[child].at {
			break
		}
		a.place(i, a.heap[child])
		i = child
	}
	a.place(i, it)
}

func (a *agenda) place(i int, it appointment) {
	a.heap[i] = it
	a.pos[it.slot] = int32(i) //nolint:gosec // a heap index is below the number of slots, an int32
}
