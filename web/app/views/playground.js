// The playground: a request as a client would make it, and what became of it.
import { html, useRef } from "../lib/preact.js";
import { query, setQuery } from "../lib/router.js";
import { t } from "../lib/words.js";
import { PageHead } from "../parts/shell.js";
import { Answer } from "./playground/answer.js";
import { Attempts, InCode } from "./playground/attempts.js";
import { callOf, dialectsOf } from "./playground/dialects.js";
import { draft } from "./playground/draft.js";
import { Ask } from "./playground/form.js";
import { firstModel, useLastModel, useModels } from "./playground/models.js";

/** What the address chooses, and where it leaves that open, what fits. */
function chosenBy(asked) {
  const provider = asked.provider === "openrouter" ? "openrouter" : "ollama";
  const dialect = dialectsOf(provider).includes(asked.dialect) ? asked.dialect : "openai";
  return { provider, dialect, model: asked.model ?? "" };
}

export default function Playground() {
  const asked = chosenBy(query.value);
  const models = useModels(asked.provider);
  const chosen = { ...asked, model: asked.model || firstModel(asked.provider, models.stale ? undefined : models.data) };
  useLastModel(asked.provider, asked.model);
  const results = useRef(null);
  const d = draft.value;
  const call = callOf({ ...chosen, system: d.system, messages: [...d.history, { role: "user", content: d.message }], temperature: d.temperature, maxTokens: /^\d+$/.test(d.maxTokens) ? d.maxTokens : "", stream: d.stream }, location.origin);
  const choose = (c) => setQuery({ ...c, provider: c.provider === "ollama" ? "" : c.provider ?? query.value.provider, dialect: c.dialect === "openai" ? "" : c.dialect ?? query.value.dialect });
  const sent = () => setTimeout(() => {
    const r = results.current;
    if (r && r.getBoundingClientRect().top > innerHeight - 160) r.scrollIntoView({ block: "start" });
  });
  return html`<${PageHead} title=${t("nav.playground")} sub=${html`<p class="sub">${t("playground.sub")}</p>`} />
    <div class="cols form-side">
      <${Ask} chosen=${chosen} models=${models.stale ? { ...models, data: undefined } : models} call=${call} choose=${choose} sent=${sent} />
      <div class="stack replies" ref=${results}><${Answer} /><${Attempts} /><${InCode} call=${call} /></div>
    </div>`;
}
