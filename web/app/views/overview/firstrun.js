// The first-run guide: add keys, make a token, copy a call. Each step ticks
// itself off when it is done, here or anywhere else.
import { html, useRef, useState } from "../../lib/preact.js";
import { post } from "../../lib/api.js";
import { figures } from "../../lib/live.js";
import { freshToken } from "../../lib/handover.js";
import { reason } from "../../lib/reasons.js";
import { address } from "../../lib/router.js";
import { rich, t } from "../../lib/words.js";
import { Code, Secret } from "../../parts/copy.js";
import { ErrorNote } from "../../parts/dialog.js";
import { Button, Field, Providers } from "../../parts/form.js";
import { Icon } from "../../parts/icon.js";

/** A step: n its number, state "done", "now" or "" for one that comes later. */
const Step = ({ n, state, title, children }) => html`<li aria-current=${state === "now" ? "step" : undefined}>
  <span class=${`dot ${state}`.trim()}>${state === "done" ? html`<${Icon} name="check" />` : n}</span>
  <div class="body"><h3>${title}</h3>${children}</div>
</li>`;

/** Takes keys as they are pasted: one, or lines of a file. */
function Paste({ done }) {
  const [text, setText] = useState("");
  const [provider, setProvider] = useState("ollama");
  const [busy, setBusy] = useState(false);
  const [bad, setBad] = useState("");
  const [error, setError] = useState(null);
  const field = useRef(null);
  const add = async (e) => {
    e.preventDefault();
    if (busy) return;
    setError(null);
    setBad("");
    if (text.trim() === "") {
      setBad(t("overview.first.keys.none"));
      field.current?.querySelector("textarea")?.focus();
      return;
    }
    setBusy(true);
    try {
      const got = await post("/admin/api-keys/import-from-txt", { content: text }, { query: { provider } });
      const first = got.invalid?.[0];
      if (got.added + got.existing === 0) setBad(first ? t("overview.first.keys.bad", { line: first.line, reason: reason(first.reason) }) : t("overview.first.keys.none"));
      else {
        setText("");
        done(got.invalid ?? []);
      }
    } catch (e) {
      if (e.name !== "AbortError") setError(e);
    } finally {
      setBusy(false);
    }
  };
  return html`<form class="form paste" ref=${field} onSubmit=${add} novalidate>
    <${Field} label=${t("overview.first.keys.label")} error=${bad} control=${(a) => html`<textarea ...${a} class="area mono" rows="3" autocomplete="off" autocapitalize="off" spellcheck=${false} value=${text} onInput=${(e) => setText(e.target.value)}></textarea>`} />
    <div class="btn-row"><${Providers} value=${provider} onChange=${setProvider} />
      <${Button} type="submit" class="primary" icon="plus" busy=${busy}>${t("overview.first.keys.add")}<//>
      <a class="btn" href=${address("/dashboard/import", { provider })}><${Icon} name="file" />${t("overview.first.keys.file")}</a></div>
    ${error && html`<${ErrorNote} error=${error} />`}
  </form>`;
}

/** Makes a token that is shown this once. */
function MakeToken({ ready, made }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const run = async () => {
    setBusy(true);
    setError(null);
    try {
      made(await post("/admin/tokens", { name: t("overview.first.token.name"), provider: "all" }));
    } catch (e) {
      if (e.name !== "AbortError") setError(e);
      setBusy(false);
    }
  };
  return html`<${Button} class=${ready ? "primary" : ""} icon="plus" busy=${busy} onClick=${run}>${t("overview.first.token")}<//>
    ${error && html`<${ErrorNote} error=${error} />`}`;
}

/** The call to copy: with the token that was just made, else with a place for one. */
function Call({ token, provider }) {
  const [path, model] = provider === "openrouter" ? ["/openrouter/v1/chat/completions", "openai/gpt-oss-20b"] : ["/v1/chat/completions", "gpt-oss:20b"];
  const url = location.origin + path;
  const bearer = `"Authorization: Bearer ${token || "$TOKEN"}"`;
  const body = `'{"model":"${model}","messages":[{"role":"user","content":"Hello"}]}'`;
  return html`<${Code} text=${`curl ${url} \\\n  -H ${bearer} \\\n  -d ${body}`} label=${t("overview.first.call.copy")}>
    <span class="k">curl</span> <span class="s">${url}</span>${" \\\n  -H "}<span class="s">${bearer}</span>${" \\\n  -d "}<span class="s">${body}</span>
  <//>`;
}

/** The provider whose keys serve the call. */
function served() {
  const of = figures.value?.providers ?? [];
  const has = (name) => of.some((p) => p.provider === name && p.enabled && p.states.total > 0);
  return !has("ollama") && has("openrouter") ? "openrouter" : "ollama";
}

/**
 * The guide. data is the overview, keys how many keys there are, ever whether a
 * request has come in; the last step is done with the first that succeeds. leave is called when it has done its work, null while
 * it has not.
 */
export function FirstRun({ data, keys, ever, reload, leave }) {
  const [made, setMade] = useState(null);
  const [bad, setBad] = useState([]); // the lines pasted here that were left out
  const states = figures.value?.states ?? data.states;
  const tokens = Math.max(data.tokens.total, made ? 1 : 0);
  const failing = ever && data.figures.success === 0 && data.figures.failure > 0;
  const done = [keys > 0, tokens > 0, ever && !failing];
  const current = done.indexOf(false);
  const state = (i) => (done[i] ? "done" : i === current ? "now" : "");
  const link = (text) => html`<a href="/dashboard/playground">${text}</a>`;
  const failures = (text) => html`<a href="/dashboard/requests?status=failed">${text}</a>`;
  const imports = (text) => html`<a href="/dashboard/import">${text}</a>`;
  const own = made?.token ?? freshToken.value;
  return html`<section class="panel narrow-panel" aria-labelledby="first">
    <div class="panel-head"><h2 id="first">${t("overview.first.title")}</h2><span class="sub" role="status">${t("overview.first.done", { n: done.filter(Boolean).length })}</span></div>
    <ol class="first">
      <${Step} n="1" state=${state(0)} title=${t("overview.first.keys")}>
        ${done[0]
          ? html`<p>${t("overview.first.keys.done", { n: keys, active: states.active })}</p>
            ${bad.length > 0 && html`<div class="note-box s-resting" role="status"><${Icon} name="failed" /><div>${rich("overview.first.keys.left", { n: bad.length, line: bad[0].line, reason: reason(bad[0].reason), imports })}</div></div>`}`
          : html`<p>${rich("overview.first.keys.more")}</p><${Paste} done=${(left) => { setBad(left); reload(); }} />`}
      <//>
      <${Step} n="2" state=${state(1)} title=${t("overview.first.token")}>
        <p>${done[1] && !made ? t("overview.first.token.done", { n: tokens }) : made ? t("overview.first.token.once") : t("overview.first.token.more")}</p>
        ${made && html`<${Secret} text=${made.token} label=${t("overview.first.token.copy")} />`}
        ${!done[1] && html`<${MakeToken} ready=${current === 1} made=${(m) => { setMade(m); freshToken.value = m.token; reload(); }} />`}
      <//>
      <${Step} n="3" state=${state(2)} title=${t("overview.first.call")}>
        <p>${failing ? rich("overview.first.call.failed", { failures }) : ever ? t("overview.first.call.done") : !done[1] ? t("overview.first.call.more") : own ? rich("overview.first.call.now", { link }) : rich("overview.first.call.own", { link })}</p>
        <${Call} token=${own} provider=${served()} />
        ${leave && done[0] && done[1] && ever && html`<button type="button" class="btn primary" onClick=${leave}>${t("overview.first.over")}</button>`}
      <//>
    </ol>
  </section>`;
}
