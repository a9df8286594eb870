package app

import (
	"slices"

	"ollama-api-pool/internal/gateway"
)

// mostRows is about how many rows one batch writes of keys. More make several
// batches: each then takes a second or so, and other instances get their turn in
// between, also when a hundred thousand keys return from a rest together.
const mostRows = 10_000

// parts makes batches' worth of deltas, in their order. Only what is told of
// single keys is parted: states, counts and tallies.
func parts(all []gateway.Delta, most int) (list [][]gateway.Delta) {
	var part []gateway.Delta
	room := most
	for i := range all {
		for d := all[i]; !d.Empty(); {
			var head gateway.Delta
			head, d = cut(d, room)
			room -= rowsOf(&head)
			if part = append(part, head); room <= 0 {
				list = append(list, part)
				part, room = nil, most
			}
		}
	}
	if len(part) > 0 {
		list = append(list, part)
	}
	return list
}

func rowsOf(d *gateway.Delta) int { return len(d.States) + len(d.Keys) + len(d.Tallies) }

// cut parts a delta: its head has everything but the rows for which there is no
// room.
func cut(d gateway.Delta, room int) (head, tail gateway.Delta) {
	head, tail = d, gateway.Delta{Provider: d.Provider}
	head.States, tail.States = cutList(d.States, room)
	head.Keys, tail.Keys = cutList(d.Keys, room-len(head.States))
	head.Tallies, tail.Tallies = cutList(d.Tallies, room-len(head.States)-len(head.Keys))
	return head, tail
}

func cutList[T any](list []T, room int) (head, tail []T) {
	n := min(max(room, 0), len(list))
	return slices.Clip(list[:n]), list[n:]
}
