package sqlstore

import (
	"context"
	"database/sql"

	"ollama-api-pool/internal/gateway"
)

// rankColumns are the counts by which keys can be put in an order, from
// {p}key_stats as s.
var rankColumns = map[string]string{
	"requests": "coalesce(s.total_requests, 0)",
	"success":  "coalesce(s.success_count, 0)",
	"failure":  "coalesce(s.failure_count, 0)",
	"lastUsed": "s.last_used",
}

// rankSegments are the keys in the order of a count.
func rankSegments(by string, desc bool) []segment {
	used := segment{from: "{p}key_stats s", used: rankColumns[by], order: rankColumns[by] + "{d}, s.api_key{d}", desc: desc}
	unused := segment{where: fragment{text: "not exists (select 1 from {p}key_stats s where s.api_key = k.api_key)"}, order: "k.api_key{d}"}
	if by == "lastUsed" { // which is not known of all that were used
		used.where.text = "s.last_used is not null"
		unused.where.text = "not exists (select 1 from {p}key_stats s where s.api_key = k.api_key and s.last_used is not null)"
	}
	return []segment{used, unused}
}

// KeyRanks returns a page of the keys in the order of a count (requests,
// success, failure or lastUsed), the largest first unless ascending, and how
// many keys there are. Keys that were never used come last either way. The
// counts are exact; which keys are on a page follows from those that are
// folded, which lag behind by what Fold has yet to add.
func (s *Store) KeyRanks(ctx context.Context, p gateway.ProviderName, by string, ascending bool, offset, limit int) (page []gateway.Key, total int, err error) {
	t, err := tablesOf(p)
	if err != nil {
		return nil, 0, err
	}
	if rankColumns[by] == "" {
		return nil, 0, gateway.Errorf(gateway.KindInvalid, "cannot put keys in the order of %q", gateway.Clip(by, 40))
	}
	err = s.read(ctx, "rank the keys in the store", func(inside context.Context, tx *sql.Tx) error {
		l := lister{s: s, ctx: inside, until: ctx, tx: tx, t: t, where: fragment{text: everyKey}}
		if total, err = l.count(&segment{}); err != nil {
			return err
		}
		if page, err = l.page(rankSegments(by, !ascending), total, offset, limit); err != nil {
			return err
		}
		return l.addJournalled(page, by, !ascending)
	})
	if err != nil {
		return nil, 0, err
	}
	return page, total, nil
}
