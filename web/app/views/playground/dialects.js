// What a request looks like in each dialect, and what the pieces of its answer
// say. An answer's piece is { text, thinking, tokensIn, tokensOut, error, last }.

/** The dialects; an address without a prefix goes to Ollama. */
export const dialects = {
  openai: { path: "/v1/chat/completions", build: openai, piece: openaiPiece },
  anthropic: { path: "/v1/messages", build: anthropic, piece: anthropicPiece, headers: { "anthropic-version": "2023-06-01" } },
  ollama: { path: "/api/chat", build: ollama, piece: ollamaPiece, only: "ollama" },
};

/** Anthropic's dialect wants a limit; this stands for none. */
const anthropicMost = 4096;

/** The dialects that a provider speaks. */
export const dialectsOf = (provider) => Object.keys(dialects).filter((d) => !dialects[d].only || dialects[d].only === provider);

/**
 * The call of a request: { method, url, headers, body }. r has provider, dialect,
 * model, system, messages, temperature, maxTokens ("" for none) and stream.
 */
export function callOf(r, origin = "") {
  const d = dialects[r.dialect];
  const prefix = r.provider === "ollama" ? "" : `/${r.provider}`;
  return {
    method: "POST",
    url: origin + prefix + d.path,
    headers: { "Content-Type": "application/json", ...d.headers },
    body: d.build(r, r.maxTokens === "" ? undefined : Number(r.maxTokens)),
  };
}

/** The address of a provider's list of models. */
export const modelsAddress = (provider) => `${provider === "ollama" ? "" : `/${provider}`}/v1/models`;

const withSystem = (r) => [...(r.system.trim() === "" ? [] : [{ role: "system", content: r.system }]), ...r.messages];

function openai(r, most) {
  return { model: r.model, messages: withSystem(r), temperature: r.temperature, max_tokens: most, stream: r.stream, stream_options: r.stream ? { include_usage: true } : undefined };
}

function anthropic(r, most) {
  return { model: r.model, max_tokens: most ?? anthropicMost, system: r.system.trim() === "" ? undefined : r.system, messages: r.messages, temperature: Math.min(1, r.temperature), stream: r.stream };
}

function ollama(r, most) {
  return { model: r.model, messages: withSystem(r), stream: r.stream, options: { temperature: r.temperature, num_predict: most } };
}

const plain = (content) => (Array.isArray(content) ? content.map((c) => c.text ?? "").join("") : content ?? "");

function openaiPiece(p) {
  const choice = p.choices?.[0];
  const said = choice?.delta ?? choice?.message ?? {};
  return {
    text: plain(said.content) || said.refusal || choice?.text || "",
    thinking: said.reasoning_content ?? said.reasoning ?? "",
    tokensIn: p.usage?.prompt_tokens,
    tokensOut: p.usage?.completion_tokens,
  };
}

function anthropicPiece(p) {
  const blocks = (kind, field) => (p.content ?? []).filter((c) => c.type === kind).map((c) => c[field]).join("");
  const usage = p.usage ?? p.message?.usage;
  return {
    text: p.delta?.text ?? blocks("text", "text"),
    thinking: p.delta?.thinking ?? blocks("thinking", "thinking"),
    tokensIn: usage?.input_tokens || undefined,
    tokensOut: p.type === "message_start" ? undefined : usage?.output_tokens,
    last: p.type === "message_stop",
  };
}

function ollamaPiece(p) {
  return { text: p.message?.content ?? "", thinking: p.message?.thinking ?? "", tokensIn: p.prompt_eval_count, tokensOut: p.eval_count, last: p.done === true };
}

/** What an error says, in whichever dialect; "" where it is none that is known. */
export function errorOf(body) {
  const e = body?.error ?? (body?.type === "error" ? body : undefined);
  if (e === undefined || e === null) return "";
  return typeof e === "string" ? e : e.message ?? JSON.stringify(e);
}
