package pool

import "slices"

// none marks the absence of a slot.
const none int32 = -1

// rotation is the queue of key slots in the order in which they will be used.
// Who is taken goes to the end; who leaves hands its turn to nobody; who comes
// stands behind all others. The turn of the others never changes.
//
// It is a ring buffer, so that the keys whose turn is near stand side by side
// in memory. A slot that leaves from the middle leaves a gap; the two ends of
// every run of gaps hold its length as a negative number, so that a run of any
// length is stepped over at once. Nothing here depends on how many slots there
// are, except that the queue is packed anew when gaps have filled the buffer,
// which takes at least as many joins as there are slots.
type rotation struct {
	queue []int32 // the first and the last cell in use hold slots, never gaps
	place []int32 // by slot: where it stands in queue; none: nowhere
	head  int     // the cell whose turn it is
	size  int     // cells in use, gaps included
	n     int     // slots in the queue
	takes uint32  // how often a slot was taken
}

func newRotation(slots int) rotation {
	var r rotation
	r.grow(slots)
	return r
}

// grow makes room for slots 0 to n-1.
func (r *rotation) grow(n int) {
	r.place = growSlots(r.place, n)
	if len(r.queue) >= 2*n {
		return
	}
	queue := make([]int32, 0, 2*cap(r.place))
	r.each(func(slot int32) {
		r.place[slot] = int32(len(queue)) //nolint:gosec // below twice the number of slots, which is far below two billion
		queue = append(queue, slot)
	})
	r.queue, r.head, r.size = queue[:cap(queue)], 0, r.n
}

// growSlots extends a list by slot to at least n places, all empty.
func growSlots(list []int32, n int) []int32 {
	list = slices.Grow(list, max(0, n-len(list)))
	for len(list) < n {
		list = append(list, none)
	}
	return list
}

// pack closes the gaps.
func (r *rotation) pack() {
	from, to := r.head, r.head
	for left := r.n; left > 0; left-- {
		slot := r.queue[from]
		from = r.after(from)
		r.queue[to] = slot
		r.place[slot] = int32(to) //nolint:gosec // as above
		to = r.cell(to + 1)
	}
	r.size = r.n
}

// each calls f for every slot in the order of their turns.
func (r *rotation) each(f func(int32)) {
	for i, left := r.head, r.n; left > 0; i, left = r.after(i), left-1 {
		f(r.queue[i])
	}
}

// clone is a rotation of its own with the same slots in the same order.
func (r *rotation) clone() rotation {
	c := *r
	c.queue = append([]int32(nil), r.queue...)
	c.place = append([]int32(nil), r.place...)
	return c
}

func (r *rotation) has(slot int32) bool { return r.place[slot] != none }

// cell is the index of the cell i cells after the beginning of the buffer.
func (r *rotation) cell(i int) int {
	switch {
	case i >= len(r.queue):
		return i - len(r.queue)
	case i < 0:
		return i + len(r.queue)
	}
	return i
}

// after is the cell of the slot that follows the one in cell i, which is not
// the last.
func (r *rotation) after(i int) int {
	i = r.cell(i + 1)
	if gap := r.queue[i]; gap < 0 {
		i = r.cell(i - int(gap))
	}
	return i
}

// add puts a slot at the end of the queue.
func (r *rotation) add(slot int32) {
	if r.has(slot) {
		return
	}
	if r.size == len(r.queue) {
		r.pack()
	}
	i := r.cell(r.head + r.size)
	r.queue[i] = slot
	r.place[slot] = int32(i) //nolint:gosec // as above
	r.size++
	r.n++
}

func (r *rotation) remove(slot int32) {
	i := int(r.place[slot])
	if i == int(none) {
		return
	}
	r.place[slot] = none
	r.n--
	switch last := r.cell(r.head + r.size - 1); {
	case r.n == 0:
		r.size = 0
	case i == r.head:
		r.head = r.after(i)
		r.size -= r.cell(r.head - i)
	case i == last:
		r.size--
		if gap := r.queue[r.cell(i-1)]; gap < 0 {
			r.size += int(gap)
		}
	default:
		r.leaveGap(i)
	}
}

// leaveGap makes a gap of cell i, which is neither the first nor the last, and
// joins it with the gaps on both its sides.
func (r *rotation) leaveGap(i int) {
	from, to := i, i
	if gap := r.queue[r.cell(i-1)]; gap < 0 {
		from = r.cell(i + int(gap))
	}
	if gap := r.queue[r.cell(i+1)]; gap < 0 {
		to = r.cell(i - int(gap))
	}
	length := int32(r.cell(to-from) + 1) //nolint:gosec // as above
	r.queue[from], r.queue[to] = -length, -length
}

// take returns the slot whose turn it is among those not in except, which is
// short, and moves that slot to the end of the queue. The turn of an excepted
// slot is kept for it. It returns none if nothing is left.
func (r *rotation) take(except []int32) int32 {
	if r.n == 0 {
		return none
	}
	i := r.head
	for seen := 1; contains(except, r.queue[i]); seen++ {
		if seen == r.n {
			return none
		}
		i = r.after(i)
	}
	slot := r.queue[i]
	r.use(slot)
	return slot
}

// use moves a slot to the end of the queue.
func (r *rotation) use(slot int32) {
	r.remove(slot)
	r.add(slot)
	r.takes++
}

// ahead is a stretch of the queue from the next turn on, gaps included.
func (r *rotation) ahead(cells int) []int32 {
	return r.queue[r.head:min(r.head+min(cells, r.size), len(r.queue))]
}

func contains(slots []int32, slot int32) bool {
	for _, s := range slots {
		if s == slot {
			return true
		}
	}
	return false
}
