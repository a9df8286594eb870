// One operation of the API: what it takes and answers, examples, and a form to
// try it with a token of one's own.
import { html, signal, useEffect, useMemo, useRef, useState } from "../lib/preact.js";
import { bytes, millisText } from "../lib/format.js";
import { t } from "../lib/words.js";
import { Confirm } from "../parts/dialog.js";
import { Code } from "../parts/copy.js";
import { Button, Field } from "../parts/form.js";
import { Icon } from "../parts/icon.js";
import { Http } from "../parts/state.js";
import { Slide } from "../parts/table.js";
import { Tabs } from "../parts/tabs.js";
import { answersOf, bodyOf, fieldsOf, typeOf } from "./document.js";
import { callOf, example, languages } from "./examples.js";
import { Prose } from "./prose.js";

const language = signal("curl"); // the same for all examples
const given = { admin: signal(""), client: signal("") }; // the visitor's own tokens, in memory only
const most = 200_000; // characters of an answer that are shown

/** A method and an address. */
export const Address = ({ o }) => html`<span class=${`method ${o.method === "GET" ? "" : o.method === "DELETE" ? "s-failed" : "s-info"}`}>${o.method}</span> <span class="mono path">${o.path}</span>`;

function Fields({ title, rows }) {
  if (rows.length === 0) return null;
  return html`<h4>${title}</h4><${Slide}><table class="fields"><thead><tr><th scope="col">${t("docs.field")}</th><th scope="col">${t("docs.type")}</th><th scope="col">${t("docs.meaning")}</th></tr></thead>
    <tbody>${rows.map((r) => html`<tr key=${r.name}><th scope="row"><code>${r.name}</code>${r.required && html` <span class="tag">${t("docs.required")}</span>`}</th><td class="mono">${r.type}</td>
      <td><${Prose} text=${r.description} />${r.default !== undefined && html`<span class="hint">${t("docs.default", { value: String(r.default) })}</span>`}</td></tr>`)}</tbody></table><//>`;
}

const asText = (example, type) => (typeof example === "string" ? example : type === "application/json" ? JSON.stringify(example, null, 2) : "");

/** The whole of an operation; drawn when it is opened. */
// words: docs.access.*, docs.token.*
export function Operation({ doc, o }) {
  const body = useMemo(() => bodyOf(doc, o), [doc, o]);
  const answers = useMemo(() => answersOf(doc, o), [doc, o]);
  const [values, setValues] = useState({});
  const [text, setText] = useState(() => (body ? asText(body.example, body.type) : ""));
  const sent = body && text !== "" ? { type: body.type, text } : null;
  const parameters = (o.parameters ?? []).map((p) => ({ ...p, name: p.name, type: typeOf(doc, p.schema), default: p.schema?.default, description: p.description ?? "" }));
  const shown = callOf(o, sent, values, "", location.origin);
  return html`<div class="operation">
    ${o.description && html`<${Prose} text=${o.description} />`}
    <p class="hint">${t(`docs.access.${o.access}`)}</p>
    <${Fields} title=${t("docs.parameters")} rows=${parameters.map((p) => ({ ...p, name: p.in === "header" ? `${p.name}:` : p.in === "path" ? `{${p.name}}` : p.name }))} />
    ${body && html`<${Fields} title=${t("docs.body", { type: body.types.join(", ") })} rows=${fieldsOf(doc, body.schema)} />`}
    <h4>${t("docs.example")}</h4>
    <${Tabs} label=${t("docs.languages")} items=${languages} value=${language.value} onChange=${(v) => (language.value = v)} panel=${html`<${Code} text=${example(language.value, shown)} label=${t("copy")} />`} />
    ${answers.map((a) => html`<${Answer} key=${a.status} doc=${doc} a=${a} />`)}
    <${Try} o=${o} body=${body} parameters=${parameters} values=${values} setValues=${setValues} text=${text} setText=${setText} sent=${sent} />
  </div>`;
}

function Answer({ doc, a }) {
  const rows = fieldsOf(doc, a.schema);
  if (rows.length === 0 && a.example === undefined && a.types.length === 0) return null;
  return html`<details class="answer-of"><summary><${Http} status=${a.status === "default" ? t("docs.otherwise") : Number(a.status)} /> ${a.description} <span class="hint mono">${a.types.join(", ")}</span></summary>
    <${Fields} title=${t("docs.answer")} rows=${rows} />
    ${a.example !== undefined && html`<${Code} text=${asText(a.example, "application/json")} />`}
  </details>`;
}

// What is shown of a call that was made, while its answer comes in.
function Try({ o, body, parameters, values, setValues, text, setText, sent }) {
  const [state, setState] = useState(null);
  const [asking, setAsking] = useState(false);
  const stop = useRef(null);
  const token = given[o.access];
  const busy = state?.busy === true;
  useEffect(() => () => stop.current?.abort(), []); // who closes the operation waits for no answer
  const run = async () => {
    const c = callOf(o, sent, values, token?.value.trim() ?? "", location.origin);
    stop.current?.abort();
    stop.current = new AbortController();
    setState({ busy: true, text: "" });
    const began = performance.now();
    try {
      const r = await fetch(c.url, { method: c.method, headers: c.headers, body: c.body ?? undefined, credentials: "omit", signal: stop.current.signal });
      const seen = { status: r.status, first: performance.now() - began, id: r.headers.get("X-Request-Id") ?? "", type: r.headers.get("Content-Type") ?? "" };
      await read(r, (got, size) => setState({ ...seen, busy: true, text: got, size }));
      setState((s) => ({ ...seen, ...s, busy: false, took: performance.now() - began, text: pretty(s.text ?? "", seen.type) }));
    } catch (e) {
      setState((s) => ({ ...s, busy: false, error: e.name === "AbortError" ? t("docs.stopped") : t("error.away") }));
    }
  };
  const send = (e) => {
    e.preventDefault();
    if (o.method !== "GET" && o.access === "admin") setAsking(true);
    else run();
  };
  const open = parameters.every((p) => !p.required || values[`${p.in}.${p.name}`]) && (!token || token.value.trim() !== "");
  const set = (p) => (e) => setValues({ ...values, [`${p.in}.${p.name}`]: e.target.value });
  return html`<details class="try"><summary><${Icon} name="play" />${t("docs.try")}</summary>
    <form class="form" onSubmit=${send} autocomplete="off">
      ${token && html`<${Field} label=${t(`docs.token.${o.access}`)} help=${t("docs.token.help")} control=${(a) => html`<input ...${a} class="input" type="password" autocomplete="off" value=${token.value} onInput=${(e) => (token.value = e.target.value)} />`} />`}
      ${parameters.length > 0 && html`<div class="form-row">${parameters.map((p) => html`<${Field} key=${p.in + p.name} label=${`${p.name}${p.required ? " *" : ""}`} control=${(a) => p.schema?.enum
        ? html`<select ...${a} class="select" onChange=${set(p)}><option value=""></option>${p.schema.enum.map((v) => html`<option key=${v} selected=${values[`${p.in}.${p.name}`] === String(v)}>${v}</option>`)}</select>`
        : html`<input ...${a} class="input" placeholder=${p.default !== undefined ? String(p.default) : ""} value=${values[`${p.in}.${p.name}`] ?? ""} onInput=${set(p)} />`} />`)}</div>`}
      ${body && html`<${Field} label=${t("docs.body", { type: body.type })} control=${(a) => html`<textarea ...${a} class="area mono" rows=${Math.min(16, text.split("\n").length + 1)} spellcheck=${false} value=${text} onInput=${(e) => setText(e.target.value)}></textarea>`} />`}
      <div class="btn-row"><${Button} type="submit" class="primary" busy=${busy} disabled=${!open}>${t("docs.send")}<//>${busy && html`<${Button} icon="stop" onClick=${() => stop.current.abort()}>${t("docs.stop")}<//>`}</div>
      ${state && html`<${Came} state=${state} />`}
    </form>
    ${asking && html`<${Confirm} title=${t("docs.confirm", { call: `${o.method} ${o.path}` })} label=${t("docs.send")} destroys=${o.method === "DELETE"} act=${async () => { run(); }} onClose=${() => setAsking(false)}>${t("docs.confirm.more")}<//>`}
  </details>`;
}

function Came({ state: s }) {
  return html`<div class="came" role="status">
    ${s.status !== undefined && html`<p class="hint"><${Http} status=${s.status} /> ${[s.took !== undefined ? millisText(s.took) : "", s.size !== undefined ? bytes(s.size) : "", s.type].filter(Boolean).join(" · ")}${s.id && html` · <code>${s.id}</code>`}</p>`}
    ${s.error && html`<p class="note-box s-failed"><${Icon} name="failed" />${s.error}</p>`}
    ${s.text ? html`<${Code} text=${s.text} />` : null}
  </div>`;
}

async function read(r, seen) {
  const reader = r.body?.getReader();
  if (!reader) return;
  const decoder = new TextDecoder();
  let text = "";
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (text.length < most) text += decoder.decode(value, { stream: true });
    seen(text.length < most ? text : `${text.slice(0, most)}\n…`, size);
  }
}

function pretty(text, type) {
  if (!type.includes("json") || type.includes("ndjson")) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
