// Reads answers that come in parts: server-sent events and JSON by lines.

/** Calls f with every line of a body, as soon as it is there. */
async function eachLine(body, came, f) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (value) came();
    rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
    const lines = rest.split(/\r?\n/);
    rest = done ? "" : lines.pop();
    lines.forEach(f);
    if (done) return;
  }
}

/**
 * Reads a streamed answer: came is called whenever bytes come, piece with every
 * object in it, last when the protocol says that the answer is complete.
 */
export async function readStream(response, { came, piece, last }) {
  const events = (response.headers.get("Content-Type") ?? "").includes("event-stream");
  const take = (text) => {
    if (text === "[DONE]") last();
    else if (text.trim() !== "") piece(JSON.parse(text));
  };
  let data = [];
  await eachLine(response.body, came, (line) => {
    if (!events) take(line);
    else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
    else if (line === "" && data.length > 0) {
      const text = data.join("\n");
      data = [];
      take(text);
    }
  });
}

/** Whether an answer comes in parts. */
export const isStream = (response) => /event-stream|x-ndjson|jsonl/.test(response.headers.get("Content-Type") ?? "");

/** Reads a whole answer as text; came is called when its first bytes come. */
export async function readWhole(response, came) {
  let text = "";
  if (response.body) await eachLine(response.body, came, (line) => (text += text === "" ? line : `\n${line}`));
  return text;
}
