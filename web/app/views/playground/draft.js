// What is written on the playground, the token, and the request that runs. All
// of it stays in memory while one goes to other pages, and goes with the session.
import { effect, signal } from "../../lib/preact.js";
import { get, session } from "../../lib/api.js";
import { freshToken } from "../../lib/handover.js";
import { t } from "../../lib/words.js";
import { callOf, dialects, errorOf } from "./dialects.js";
import { isStream, readStream, readWhole } from "./stream.js";

const fresh = { system: "", message: "", temperature: 0.7, maxTokens: "", stream: true, sample: "", touched: false, history: [] };

/** What is written: { system, message, temperature, maxTokens, stream, sample, touched, history }. */
export const draft = signal(fresh);

/** The client token that requests go with. It is kept nowhere but here. */
export const token = signal("");

/** When the token ends that was made here, null for another one. */
export const tokenEnds = signal(null);

/**
 * The last request, null before the first: { phase, call, asked, status, id,
 * attempts, cache, text, thinking, tokensIn, tokensOut, parts, began, firstAt,
 * endedAt, error, entry, log }. phase is "waiting", "streaming", "done",
 * "stopped" or "failed"; entry is what the request log has of it, log why there
 * is nothing: "looking", "off" or "missing".
 */
export const run = signal(null);

export const running = () => run.value?.phase === "waiting" || run.value?.phase === "streaming";

let stopping = null;

effect(() => {
  if (session.value !== null) return;
  stopping?.abort();
  stopping = null;
  draft.value = fresh;
  run.value = null;
  token.value = "";
});
effect(() => {
  if (freshToken.value === "") return;
  token.value = freshToken.value;
  tokenEnds.value = null;
});

export const write = (changes) => (draft.value = { ...draft.value, ...changes });

/** Gives the running request up. */
export const stop = () => stopping?.abort();

/** Takes the last answer into what is asked next. */
export function goOn() {
  const r = run.value;
  write({ history: [...r.asked, { role: "assistant", content: r.text }], message: "", sample: "" });
}

/** Forgets the earlier turns, and the answer. */
export function begin() {
  stopping = null; // what the log has of it is not looked for any more
  write({ history: [] });
  run.value = null;
}

const everyMs = 60; // between two drawings of what comes in

/** Sends what is written. chosen has provider, dialect and model. */
export async function send(chosen) {
  const d = draft.value;
  const asked = [...d.history, { role: "user", content: d.message }];
  const call = callOf({ ...chosen, system: d.system, messages: asked, temperature: d.temperature, maxTokens: d.maxTokens, stream: d.stream });
  const r = { phase: "waiting", call, chosen, asked, text: "", thinking: "", parts: 0, began: performance.now() };
  stopping?.abort();
  const stop = (stopping = new AbortController());
  const show = () => stopping === stop && (run.value = { ...r });
  show();
  const timer = setInterval(show, everyMs);
  try {
    await ask(r, call, stop.signal);
    if (r.phase !== "failed") r.phase = "done";
  } catch (e) {
    fail(r, e);
  } finally {
    clearInterval(timer);
    r.endedAt = performance.now();
    show();
  }
  if (r.id) await look(r, show);
}

async function ask(r, call, signal) {
  const response = await fetch(call.url, {
    method: call.method, body: JSON.stringify(call.body), credentials: "omit", signal,
    headers: { ...call.headers, Authorization: `Bearer ${token.value.trim()}`, "X-Pool-Trace": "true" },
  });
  const header = (name) => response.headers.get(name) ?? "";
  Object.assign(r, { status: response.status, id: header("X-Request-Id"), attempts: Number(header("X-Pool-Attempts")), cache: header("X-Cache") });
  const came = () => (r.firstAt ??= performance.now());
  const { piece } = dialects[r.chosen.dialect];
  if (response.ok && isStream(response)) {
    r.phase = "streaming";
    await inParts(r, response, came, piece);
    return;
  }
  const text = await readWhole(response, came);
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    // a proxy's page
  }
  if (!response.ok || body === undefined || errorOf(body)) {
    r.phase = "failed";
    r.error = { message: errorOf(body) || t(response.ok ? "playground.odd" : "error.status", { status: String(response.status) }), raw: body === undefined ? text : JSON.stringify(body, null, 2), retryAfter: Number(header("Retry-After")) || 0 };
    return;
  }
  add(r, piece(body));
}

async function inParts(r, response, came, piece) {
  let complete = false;
  await readStream(response, {
    came,
    last: () => (complete = true),
    piece: (p) => {
      const message = errorOf(p);
      if (message) {
        r.phase = "failed";
        r.error = { message, raw: JSON.stringify(p, null, 2), retryAfter: 0 };
        return;
      }
      const said = piece(p);
      add(r, said);
      if (said.last) complete = true;
    },
  });
  if (!complete && r.phase !== "failed") throw new TypeError("no last word");
}

function add(r, { text, thinking, tokensIn, tokensOut }) {
  r.text += text;
  r.thinking += thinking;
  if (text || thinking) r.parts++;
  r.tokensIn = tokensIn ?? r.tokensIn;
  r.tokensOut = tokensOut ?? r.tokensOut;
}

function fail(r, e) {
  if (e.name === "AbortError") {
    r.phase = "stopped";
    return;
  }
  r.phase = "failed";
  r.error ??= { message: r.status === undefined ? t("error.away") : t("playground.cut"), raw: "", retryAfter: 0 };
}

const looks = [0, 200, 400, 800, 1600]; // ms before each look into the log: it is written in the background

/** Finds the request in the log. The list is asked first: what is not there yet is no error in it. */
async function look(r, show) {
  r.log = "looking";
  show();
  for (const ms of looks) {
    await new Promise((done) => setTimeout(done, ms));
    if (session.value === null) return;
    try {
      const list = await get("/admin/requests", { provider: r.chosen.provider, limit: 200 });
      if (list.requests.some((e) => e.id === r.id)) {
        r.entry = await get(`/admin/requests/${encodeURIComponent(r.id)}`);
        r.tokensIn ??= r.entry.tokensIn || undefined;
        r.tokensOut ??= r.entry.tokensOut || undefined;
        r.log = undefined;
        show();
        return;
      }
      if (list.log.mode === "off") {
        r.log = "off";
        show();
        return;
      }
    } catch {
      // the next look may do better
    }
  }
  r.log = "missing";
  show();
}
