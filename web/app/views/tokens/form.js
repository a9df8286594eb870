// Making a token, and changing one: the same form.
import { html, useEffect, useId, useRef, useState } from "../../lib/preact.js";
import { post, call } from "../../lib/api.js";
import { dated, number } from "../../lib/format.js";
import { address } from "../../lib/router.js";
import { rich, t } from "../../lib/words.js";
import { Copy } from "../../parts/copy.js";
import { Dialog, ErrorNote } from "../../parts/dialog.js";
import { Button, Field, Seg } from "../../parts/form.js";
import { Icon } from "../../parts/icon.js";
import { When } from "../../parts/time.js";
import { Used } from "./limits.js";

const day = 86400; // seconds

/** The validities that are offered, in seconds. */
const spans = { day, month: 30 * day, quarter: 90 * day, year: 365 * day };

const numbers = ["requestsPerMinute", "requestsPerDay", "tokensPerDay", "concurrent"];
const lists = ["models", "networks"];

/** What the fields begin with. */
function begin(token) {
  const limits = token?.limits;
  return {
    name: token?.name ?? "",
    provider: token ? (token.providers.length > 1 ? "all" : token.providers[0]) : "all",
    valid: token ? "keep" : "never",
    until: "",
    ...Object.fromEntries(numbers.map((id) => [id, limits?.[id] > 0 ? String(limits[id]) : ""])),
    ...Object.fromEntries(lists.map((id) => [id, (limits?.[id] ?? []).join("\n")])),
  };
}

/** The end of the chosen day, in the reader's zone, in seconds from now. */
const untilEnd = (date) => Math.floor((new Date(`${date}T23:59:59`).getTime() - Date.now()) / 1000);

/** A number as the API takes it: 10,000 and 10 000 are 10000, while 1.5 stays what it is. */
const plainNumber = (text) => (/^\d{1,3}([\s,.'’_]\d{3})+$/.test(text.trim()) ? text.replace(/\D/g, "") : text.trim());
const entries = (text) => text.split(/[\n,]/).map((s) => s.trim()).filter(Boolean);

/** What is wrong with the fields, by their names. */
function wrong(f) {
  const out = {};
  if (f.name.trim() === "") out.name = t("tokens.name.none");
  else if ([...f.name.trim()].length > 100) out.name = t("tokens.name.long");
  if (f.valid === "own" && !(untilEnd(f.until) > 0)) out.until = t("tokens.until.bad");
  for (const id of numbers) if (!/^\d{0,15}$/.test(plainNumber(f[id]))) out[id] = t("tokens.number.bad");
  return out;
}

/** What the fields say, as the API takes it. */
function asked(f, token) {
  const limits = {
    ...Object.fromEntries(numbers.map((id) => [id, Number(plainNumber(f[id]) || 0)])),
    ...Object.fromEntries(lists.map((id) => [id, entries(f[id])])),
  };
  const body = { name: f.name.trim(), provider: f.provider };
  if (f.valid === "own") body.expiresIn = untilEnd(f.until);
  else if (f.valid === "never" && token) body.expiresIn = 0;
  else if (spans[f.valid]) body.expiresIn = spans[f.valid];
  if (Object.values(limits).some((v) => (Array.isArray(v) ? v.length > 0 : v > 0))) body.limits = limits;
  else if (token?.limits) body.limits = null;
  return body;
}

/** token is the one to change, or null for a new one; done is called with what the API answers. */
export function TokenForm({ token, onClose, done }) {
  const [f, setF] = useState(() => begin(token));
  const [tried, setTried] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const id = useId();
  const form = useRef(null);
  useEffect(() => form.current?.querySelector("input")?.focus(), []);
  const set = (changes) => setF((was) => ({ ...was, ...changes }));
  const faults = wrong(f);
  const save = async (e) => {
    e.preventDefault();
    setTried(true);
    if (busy) return;
    if (Object.keys(faults).length > 0) {
      requestAnimationFrame(() => form.current?.querySelector("[aria-invalid]")?.focus());
      return;
    }
    setBusy(true);
    setError(null);
    try {
      done(token ? await call("PATCH", `/admin/tokens/${encodeURIComponent(token.id)}`, { json: asked(f, token) }) : await post("/admin/tokens", asked(f, null)));
    } catch (e) {
      setBusy(false);
      if (e.name !== "AbortError") setError(e);
    }
  };
  const field = (name, more, help = "") => html`<${Field} label=${t(`tokens.limit.${name}`)} help=${help} error=${tried ? faults[name] : ""} control=${(a) => html`<input ...${a} class="input" autocomplete="off" value=${f[name]} onInput=${(e) => set({ [name]: e.target.value })} ...${more} />`} />`;
  const area = (name, help) => html`<${Field} label=${t(`tokens.limit.${name}`)} help=${help} control=${(a) => html`<textarea ...${a} class="area short mono" rows="2" autocapitalize="off" autocomplete="off" spellcheck=${false} value=${f[name]} onInput=${(e) => set({ [name]: e.target.value })}></textarea>`} />`;
  const limited = [...numbers, ...lists].some((name) => f[name].trim() !== "");
  const footer = html`<button type="button" class="btn" disabled=${busy} onClick=${onClose}>${t("cancel")}</button>
    <${Button} type="submit" form=${id} class="primary" busy=${busy}>${token ? t("tokens.save") : t("tokens.make")}<//>`;
  return html`<${Dialog} title=${token ? t("tokens.edit.title", { name: token.name }) : t("tokens.new")} onClose=${onClose} busy=${busy} footer=${footer}>
    <form id=${id} ref=${form} class="form" onSubmit=${save} novalidate>
      ${token && html`<${Facts} token=${token} />`}
      <${Field} label=${t("tokens.name")} help=${token ? "" : t("tokens.name.help")} error=${tried ? faults.name : ""} control=${(a) => html`<input ...${a} class="input" autocomplete="off" value=${f.name} onInput=${(e) => set({ name: e.target.value })} />`} />
      <div class="field"><span class="label">${t("tokens.providers")}</span><div><${Seg} label=${t("tokens.providers")} value=${f.provider} onChange=${(provider) => set({ provider })} options=${[["all", t("tokens.providers.all")], ["ollama", "Ollama"], ["openrouter", "OpenRouter"]]} /></div></div>
      <div class="form-row"><${Field} label=${t("tokens.valid")} control=${(a) => html`<select ...${a} class="select" onChange=${(e) => set({ valid: e.target.value })}>
          ${token && html`<option value="keep" selected=${f.valid === "keep"}>${token.expires_at ? t("tokens.valid.keep", { until: dated(token.expires_at) }) : t("tokens.valid.keep.never")}</option>`}
          ${["day", "month", "quarter", "year", "never", "own"].filter((v) => !(v === "never" && token && !token.expires_at)).map((v) => html`<option key=${v} value=${v} selected=${f.valid === v}>${t(`tokens.valid.${v}`)}</option>`)}
        </select>`} />
        ${f.valid === "own" && html`<${Field} label=${t("tokens.until")} error=${tried ? faults.until : ""} control=${(a) => html`<input ...${a} class="input" type="date" min=${today()} value=${f.until} onInput=${(e) => set({ until: e.target.value })} />`} />`}</div>
      <details class="more" open=${limited || undefined}><summary><${Icon} name="chevron-right" />${t("tokens.limits")}<span class="hint">${t("tokens.limits.more")}</span></summary>
        <div class="form">
          <div class="form-row">${field("requestsPerMinute", { inputmode: "numeric" })}${field("requestsPerDay", { inputmode: "numeric" })}</div>
          <div class="form-row">${field("tokensPerDay", { inputmode: "numeric" })}${field("concurrent", { inputmode: "numeric" })}</div>
          ${area("models", rich("tokens.limit.models.help"))}
          ${area("networks", rich("tokens.limit.networks.help"))}
        </div></details>
      ${error && html`<${ErrorNote} error=${error} />`}
    </form>
  <//>`; // words: tokens.valid.* tokens.limit.*
}

const today = () => new Date(Date.now() - new Date().getTimezoneOffset() * 60000).toISOString().slice(0, 10);

/** What is known of a token besides what can be changed. */
const Facts = ({ token }) => html`<dl class="facts">
    <dt>${t("tokens.token")}</dt><dd class="mono">${token.token}</dd>
    <dt>${t("tokens.id")}</dt><dd class="mono">${token.id} <${Copy} text=${token.id} label=${t("tokens.id.copy")} class="small ghost" /></dd>
    <dt>${t("tokens.made")}</dt><dd>${token.createdAt ? dated(token.createdAt) : "–"}</dd>
    <dt>${t("tokens.requests")}</dt><dd>${number(token.requestCount)}${token.lastUsed && html`${t("list.comma")}${t("tokens.last")} <${When} at=${token.lastUsed} />`} <a href=${address("/dashboard/requests", { token: token.id })}>${t("tokens.see")}</a></dd>
  </dl><${Used} token=${token} />`;
