// The sample prompts, as buttons that fill the form.
import { html, useEffect, useState } from "../../lib/preact.js";
import { get } from "../../lib/api.js";
import { useLoad } from "../../lib/load.js";
import { known, t } from "../../lib/words.js";
import { draft, write } from "./draft.js";

const few = 5; // that are shown at first
const initial = "hello";

// words: playground.sample.*
const said = (s, key, text) => (known(`playground.sample.${s.id}${key}`) ? t(`playground.sample.${s.id}${key}`) : text);

/** Fills the form with a sample. */
const take = (s) => write({ system: s.systemPrompt, message: s.userMessage, temperature: s.temperature, stream: s.stream, sample: s.id });

export function Prompts() {
  const { data, error, reload } = useLoad((signal) => get("/api/test-templates", {}, { signal }), []);
  const [all, setAll] = useState(false);
  const samples = data?.templates ?? [];
  useEffect(() => {
    const first = samples.find((s) => s.id === initial);
    if (first && !draft.value.touched) write({ system: first.systemPrompt, message: first.userMessage, sample: first.id, touched: true });
  }, [data]);
  const chosen = samples.findIndex((s) => s.id === draft.value.sample);
  const shown = all || chosen >= few ? samples : samples.slice(0, few);
  return html`<div class="field"><span class="label" id="playground-samples">${t("playground.samples")}</span>
    <div class="prompts" role="group" aria-labelledby="playground-samples">
      ${data === undefined && !error && [0, 1, 2].map((i) => html`<span key=${i} class="chip"><span class="bone"></span></span>`)}
      ${error && data === undefined && html`<span class="hint">${error.message}</span><button type="button" class="chip" onClick=${reload}>${t("retry")}</button>`}
      ${shown.map((s) => html`<button key=${s.id} type="button" class="chip" title=${said(s, ".about", s.description)} aria-pressed=${String(s.id === draft.value.sample)} onClick=${() => take(s)}>${said(s, "", s.label)}</button>`)}
      ${shown.length < samples.length && html`<button type="button" class="chip" onClick=${() => setAll(true)}>${t("playground.samples.all", { n: samples.length })}</button>`}
    </div></div>`;
}
