package pool

import (
	"fmt"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// An upstream that refuses everybody for ten minutes costs not one key, and
// service is back soon after it comes to its senses.
func TestRefusingUpstreamCostsNoKey(t *testing.T) {
	for name, every := range map[string]time.Duration{"100 a second": 10 * time.Millisecond, "20 a second": 50 * time.Millisecond, "1 a second": time.Second, "1 in 2 s": 2 * time.Second} {
		for _, keys := range []int{25, 400} {
			for _, proven := range []bool{true, false} {
				for _, v := range []gateway.Verdict{refused("unauthorized"), noCredit} {
					t.Run(fmt.Sprintf("%s, %d keys, proven %v, %s", name, keys, proven, v.Reason), func(t *testing.T) {
						c := &clients{scene: newScene(t), latency: 30 * time.Millisecond}
						var ids []gateway.KeyID
						for i := range keys {
							k := gateway.Key{Username: fmt.Sprint("user", i)}
							if proven {
								k.Counts.LastSuccess = c.now.Add(-time.Hour)
							}
							ids = append(ids, c.putKey(k))
						}
						back := c.now.Add(10 * time.Minute)
						c.upstream = func() gateway.Verdict {
							if c.now.Before(back) {
								return v
							}
							return served
						}
						for at := time.Duration(0); at < 11*time.Minute; at += every {
							c.after(at, c.request)
						}
						c.run()
						c.wait(0)
						c.wantUntouched(ids...)
						if limit := time.Second + every + 2*c.latency; c.firstServed().Sub(back) > limit {
							t.Errorf("first served %v after the upstream's return", c.firstServed().Sub(back))
						}
					})
				}
			}
		}
	}
}
