// What is asked: provider, model, texts and settings.
import { html, useRef, useState } from "../../lib/preact.js";
import { number } from "../../lib/format.js";
import { reason } from "../../lib/reasons.js";
import { rich, t } from "../../lib/words.js";
import { example } from "../../docs/examples.js";
import { Combobox } from "../../parts/combobox.js";
import { copy } from "../../parts/copy.js";
import { Button, Field, providerName } from "../../parts/form.js";
import { toast } from "../../parts/toast.js";
import { exampleOf } from "./attempts.js";
import { dialectsOf } from "./dialects.js";
import { draft, running, send, stop, token, write } from "./draft.js";
import { Prompts } from "./prompts.js";
import { TokenField } from "./token.js";

const providers = ["ollama", "openrouter"];

const Choice = ({ label, value, options, onChange }) => html`<${Field} label=${label} control=${(a) => html`<select ...${a} class="select" onChange=${(e) => onChange(e.target.value)}>
  ${options.map(([v, text]) => html`<option key=${v} value=${v} selected=${v === value}>${text}</option>`)}</select>`} />`;

async function copyCurl(call) {
  if (await copy(example("curl", exampleOf(call, "curl")))) toast({ text: t("playground.curl.copied"), more: t("playground.curl.copied.more") });
  else toast({ state: "failed", text: t("copy.failed"), more: t("copy.failed.more") });
}

/** What is missing, by field. */
function missing(chosen) {
  const out = {};
  if (chosen.model === "") out.model = t("playground.model.missing");
  if (draft.value.message.trim() === "") out.message = t("playground.message.missing");
  if (token.value.trim() === "") out.token = t("playground.token.missing");
  const most = draft.value.maxTokens;
  if (most !== "" && !/^[1-9]\d{0,6}$/.test(most)) out.maxTokens = t("playground.most.wrong");
  return out;
}

/** The form. chosen has provider, dialect and model; models is what useModels gave; sent is called when a request goes. */
export function Ask({ chosen, models, call, choose, sent }) {
  const d = draft.value;
  const [errors, setErrors] = useState({});
  const form = useRef(null);
  const on = running();
  const set = (name) => (e) => {
    write({ [name]: e.target.value, touched: true, sample: "" });
    setErrors({ ...errors, [name]: "" });
  };
  const submit = (e) => {
    e?.preventDefault();
    if (on) return;
    const found = missing(chosen);
    setErrors(found);
    if (Object.keys(found).length > 0) {
      setTimeout(() => form.current?.querySelector("[aria-invalid=true]")?.focus());
      return;
    }
    send(chosen);
    sent();
  };
  const keys = (e) => {
    if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) submit(e);
  };
  const list = models.data ?? [];
  const importing = (text) => html`<a href=${`/dashboard/import?provider=${chosen.provider}`}>${text}</a>`;
  const unlisted = models.error && models.data === undefined;
  const modelHelp = unlisted
    ? models.error.status === 503 ? rich("playground.models.empty", { message: reason(models.error.message), import: importing }) : t("playground.models.error", { message: reason(models.error.message) })
    : chosen.model !== "" && models.data && !list.includes(chosen.model) ? t("playground.model.other") : "";
  return html`<form ref=${form} class="panel" aria-label=${t("playground.request.form")} onSubmit=${submit} onKeyDown=${keys} novalidate autocomplete="off"><div class="panel-body form top">
    <div class="form-row tight">
      <${Choice} label=${t("provider")} value=${chosen.provider} options=${providers.map((p) => [p, providerName(p)])} onChange=${(p) => choose({ provider: p, model: "" })} />
      <${Field} label=${t("playground.model")} error=${errors.model} control=${(a) => html`<${Combobox} attributes=${a} options=${list} value=${chosen.model} placeholder=${models.loading && !models.data ? t("playground.models.loading") : t("playground.model.hint")} onChange=${(m) => { choose({ model: m }); setErrors({ ...errors, model: "" }); }} />`} />
    </div>
    ${modelHelp && html`<p class=${unlisted ? "note-box s-resting" : "hint"}>${modelHelp}</p>`}
    <${Prompts} />
    <${Field} label=${t("playground.system")} control=${(a) => html`<textarea ...${a} class="area short" value=${d.system} onInput=${set("system")}></textarea>`} />
    <${Field} label=${d.history.length > 0 ? t("playground.message.next", { n: d.history.length }) : t("playground.message")} error=${errors.message} control=${(a) => html`<textarea ...${a} class="area" value=${d.message} onInput=${set("message")}></textarea>`} />
    <div class="form-row tight">
      <${Field} label=${html`${t("playground.temperature")} <span class="hint">${number(d.temperature, 1)}</span>`} control=${(a) => html`<input ...${a} type="range" min="0" max="2" step="0.1" value=${d.temperature} onInput=${(e) => write({ temperature: Number(e.target.value), touched: true })} />`} />
      <${Field} label=${t("playground.most")} error=${errors.maxTokens} control=${(a) => html`<input ...${a} class="input" inputmode="numeric" placeholder=${t("playground.most.none")} value=${d.maxTokens} onInput=${(e) => { write({ maxTokens: e.target.value.trim(), touched: true }); setErrors({ ...errors, maxTokens: "" }); }} />`} />
    </div>
    <div class="form-row tight">
      <${Choice} label=${t("playground.dialect")} value=${chosen.dialect} options=${dialectsOf(chosen.provider).map((v) => [v, t(`playground.dialect.${v}`)])} onChange=${(v) => choose({ dialect: v })} />
      <div class="field"><span class="label">${t("playground.stream.label")}</span><label class="check in-row"><input type="checkbox" class="switch" role="switch" checked=${d.stream} onChange=${(e) => write({ stream: e.target.checked, touched: true })} /><span>${t("playground.stream")}</span></label></div>
    </div>
    <${TokenField} error=${errors.token} onChange=${() => setErrors({ ...errors, token: "" })} />
    <div class="btn-row"><${Button} type="submit" class="primary" icon="play" aria-disabled=${String(on)}>${t("playground.send")}<//>
      <${Button} icon="stop" aria-disabled=${String(!on)} onClick=${stop}>${t("playground.stop")}<//>
      <${Button} class="ghost" icon="code" onClick=${() => copyCurl(call)}>${t("playground.curl")}<//></div>
  </div></form>`; // words: playground.dialect.*
}
