package admin

import (
	"encoding/csv"
	"net/http"
	"strconv"
	"strings"
)

const csvType = "text/csv"

// figureColumns are the columns that every table has after its own.
var figureColumns = []string{
	"requests", "success", "failure", "success_rate", "share", "attempts", "tokens_in", "tokens_out", "cost",
	"duration_p50_ms", "duration_p95_ms", "first_byte_p50_ms", "first_byte_p95_ms",
}

// writeCSV answers with a table as a file. names are the columns that say what
// a row is about; fill calls row for each. After an error of fill the file is
// broken off, so that half a table does not look like a whole one.
func writeCSV(w http.ResponseWriter, file string, names []string, fill func(row func(names []string, share float64, t *tallyAnswer)) error) error {
	h := w.Header()
	h.Set("Content-Type", csvType+"; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="`+file+`.csv"`)
	out := csv.NewWriter(w)
	_ = out.Write(append(append([]string{}, names...), figureColumns...)) // a client that has gone is no error
	err := fill(func(cells []string, share float64, t *tallyAnswer) {
		record := make([]string, 0, len(cells)+len(figureColumns))
		for _, c := range cells {
			record = append(record, plainCell(c))
		}
		_ = out.Write(append(record, figureCells(share, t)...))
	})
	out.Flush()
	return err
}

func figureCells(share float64, t *tallyAnswer) []string {
	number := func(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
	cells := []string{
		strconv.FormatInt(t.Requests, 10), strconv.FormatInt(t.Success, 10), strconv.FormatInt(t.Failure, 10), t.SuccessRate, number(share),
		strconv.FormatInt(t.Attempts, 10), strconv.FormatInt(t.TokensIn, 10), strconv.FormatInt(t.TokensOut, 10), number(t.Cost),
	}
	for _, times := range []*timesAnswer{t.Duration, t.FirstByte} {
		if times == nil {
			cells = append(cells, "", "")
		} else {
			cells = append(cells, number(times.P50), number(times.P95))
		}
	}
	return cells
}

// plainCell is a cell that no spreadsheet takes for a formula
// (https://owasp.org/www-community/attacks/CSV_Injection).
func plainCell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r\n", rune(s[0])) {
		return "'" + s
	}
	return s
}
