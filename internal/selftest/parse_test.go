package selftest

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestCheapest(t *testing.T) {
	f := func(list string, want ...string) {
		t.Helper()
		var all []model
		if err := json.Unmarshal([]byte(list), &all); err != nil {
			t.Fatal(err)
		}
		if got := cheapest(all); !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	f(`[]`)
	f(`[{"id":"b"},{"id":"a"},{"id":""}]`, "a", "b")
	f(`[{"id":"kimi-k2:1t"},{"id":"gpt-oss:120b"},{"id":"glm-4.7"},{"id":"gpt-oss:20b"},{"id":"gemma3:270m"},{"id":"nomic-embed-text"},{"id":"embeddinggemma:300m"}]`,
		"gemma3:270m", "gpt-oss:20b", "gpt-oss:120b", "kimi-k2:1t", "glm-4.7")
	f(`[{"id":"q/qwen3-235b-a22b"},{"id":"q/qwen3-30b-a3b"},{"id":"x/llama-3.3-70b-instruct"}]`, "q/qwen3-30b-a3b", "x/llama-3.3-70b-instruct", "q/qwen3-235b-a22b")
	f(`[{"id":"paid-1b","pricing":{"prompt":"0.000001","completion":"0.000002"}},{"id":"free-70b","pricing":{"prompt":"0","completion":"0"}},
		{"id":"auto","pricing":{"prompt":"-1","completion":"-1"}},{"id":"dear-1b","pricing":{"prompt":"0.00001","completion":"0"}},
		{"id":"painter-1b","architecture":{"output_modalities":["image","text"]}},{"id":"talker-8b","architecture":{"output_modalities":["text"]}}]`,
		"talker-8b", "free-70b", "paid-1b", "dear-1b")
	sized := []model{{ID: "a:1b", size: 30}, {ID: "b:70b", size: 10}, {ID: "c"}, {ID: "d:2b"}}
	if got := cheapest(sized); !slices.Equal(got, []string{"b:70b", "a:1b", "d:2b", "c"}) {
		t.Error(got)
	}
}

func TestWords(t *testing.T) {
	for body, want := range map[string]said{
		``:                 {},
		`{}`:               {},
		`{"error":null}`:   {},
		`{"error":7}`:      {},
		`{"error":"text"}`: {Message: "text"},
		`{"error":{"message":"m","type":"t","code":"c"}}`:         {"", "m", "t", "c"},
		`{"error":{"message":"m","code":402}}`:                    {Message: "m"},
		`{"type":"error","error":{"message":"m","type":"t"}}`:     {"error", "m", "t", ""},
		`{"error":{"message":"m","type":"t","code":null},"x":[]}`: {"", "m", "t", ""},
	} {
		if got := words([]byte(body)); got != want {
			t.Errorf("%s: %+v, want %+v", body, got, want)
		}
	}
}

func TestReadStream(t *testing.T) {
	f := func(form streamForm, text string, want heard) {
		t.Helper()
		// One byte at a time, and all at once: the same must be heard.
		for _, body := range []string{text, strings.ReplaceAll(text, "\n", "\r\n")} {
			h, err := readStream(iotest.OneByteReader(strings.NewReader(body)), form, func() time.Duration { return 0 })
			if err != nil || *h != want {
				t.Errorf("%q: %+v, %v, want %+v", body, h, err, want)
			}
		}
	}
	f(eventStream, "", heard{})
	f(eventStream, ": OPENROUTER PROCESSING\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata:{\"choices\":[{\"delta\":{\"reasoning\":\"b\"}}]}\n\nevent: x\ndata: [DONE]\n\n",
		heard{events: 2, bursts: 1, text: part{Content: "a", Thinking: "b"}, done: true})
	f(eventStream, "data: {\"choices\":[]}\n\ndata: {\"error\":{\"message\":\"m\"}}\n\n", heard{events: 2, bursts: 1, trouble: "m"})
	f(eventStream, "data: no JSON\n\ndata: [DONE]", heard{}) // cut in the last line
	f(jsonLines, "{\"message\":{\"content\":\"a\"}}\n{\"message\":{\"thinking\":\"b\"},\"done\":true}", heard{events: 2, bursts: 1, text: part{Content: "a", Thinking: "b"}, done: true})
	f(jsonLines, "{\"done\":false}\n{\"error\":\"m\"}\n", heard{events: 2, bursts: 1, trouble: "m"})
	f(jsonLines, "data: [DONE]\n", heard{})
}

func FuzzReadStream(f *testing.F) {
	for _, s := range []string{"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DONE]\n\n", "{\"message\":{\"content\":\"a\"},\"done\":true}\n", "data: {\"error\":\"m\"}\n", "data:[DONE]\ndata", ":\n\n\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, form := range []streamForm{eventStream, jsonLines} {
			h, err := readStream(strings.NewReader(s), form, func() time.Duration { return 0 })
			if err != nil || h.events > strings.Count(s, "\n")+1 || len(h.text.Content) > 3*len(s) || h.done && !strings.Contains(s, "DONE") && !strings.Contains(strings.ToLower(s), "true") {
				t.Errorf("%q: %+v, %v", s, h, err)
			}
			_, _ = h.outcome("/x")
		}
	})
}

func FuzzMarkdown(f *testing.F) {
	f.Add("a | b\n<script> `x` \\| [l](u) ![i](u) **b**")
	f.Fuzz(func(t *testing.T, s string) {
		r := &run{}
		got := markdown(r.clean(s))
		bare := strings.NewReplacer(`\\`, "", `\|`, "", "\\`", "").Replace(got)
		if strings.ContainsAny(got, "<>\r\n\x1b") || strings.ContainsAny(bare, "|`") {
			t.Errorf("%q becomes %q", s, got)
		}
	})
}
