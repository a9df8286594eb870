package config

// nearest finds the setting whose name is most like the given one, or "" when
// none is like it.
func nearest(name string) string {
	best, bestDistance := "", len(name)/4+2
	for _, o := range options() {
		if d := distance(name, o.name); d < bestDistance {
			best, bestDistance = o.name, d
		}
	}
	return best
}

// distance counts the characters to insert, delete or replace to make b of a
// (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
