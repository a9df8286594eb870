// Calls to copy, with a token that was just made and the address of this site.
import { html } from "../../lib/preact.js";

/**
 * The examples for a token: [id, name, text][]. inPath tells that the token may
 * stand in the address, as the ollama command needs it.
 */
export function examples({ origin, token, providers, inPath }) {
  const ollama = providers.includes("ollama");
  const base = `${origin}${ollama ? "" : "/openrouter"}/v1`;
  const model = ollama ? "gpt-oss:120b" : "openai/gpt-oss-20b";
  const list = [
    ["curl", "curl", `curl ${base}/chat/completions \\
  -H "Authorization: Bearer ${token}" \\
  -H "Content-Type: application/json" \\
  -d '{"model":"${model}","messages":[{"role":"user","content":"Hello"}]}'`],
    ["python", "Python", `from openai import OpenAI

client = OpenAI(
    base_url="${base}",
    api_key="${token}",
)
answer = client.chat.completions.create(
    model="${model}",
    messages=[{"role": "user", "content": "Hello"}],
)
print(answer.choices[0].message.content)`],
    ["javascript", "JavaScript", `const answer = await fetch("${base}/chat/completions", {
  method: "POST",
  headers: {
    "Authorization": "Bearer ${token}",
    "Content-Type": "application/json",
  },
  body: JSON.stringify({
    model: "${model}",
    messages: [{ role: "user", content: "Hello" }],
  }),
});
console.log((await answer.json()).choices[0].message.content);`],
  ];
  if (ollama && inPath) {
    list.push(["ollama", "ollama", `export OLLAMA_HOST="${origin}/t/${token}"
ollama run ${model} "Hello"`]);
  }
  return list;
}

const pieces = /"(?:[^"\\]|\\.)*"|'[^']*'|\bhttps?:[^\s"']+|\b(?:curl|export|ollama run|from|import|const|await|new|print)\b/g;

/** An example as it is drawn, with texts and words of the language in colours. */
export function Painted({ text }) {
  const out = [];
  let from = 0;
  for (const m of text.matchAll(pieces)) {
    out.push(text.slice(from, m.index), html`<span class=${/^["'h]/.test(m[0]) ? "s" : "k"}>${m[0]}</span>`);
    from = m.index + m[0].length;
  }
  out.push(text.slice(from));
  return html`${out}`;
}
