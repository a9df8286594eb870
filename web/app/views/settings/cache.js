// What is kept of answers and of lists of models, and a way to forget it.
import { html, useState } from "../../lib/preact.js";
import { post } from "../../lib/api.js";
import { bytes, number, share } from "../../lib/format.js";
import { t } from "../../lib/words.js";
import { Confirm } from "../../parts/dialog.js";
import { Button, Field, Seg } from "../../parts/form.js";
import { LoadError } from "../../parts/table.js";
import { toast } from "../../parts/toast.js";

/** Asks what is to be cleared, and clears it. */
function Clear({ total, done, onClose }) {
  const [what, setWhat] = useState("all");
  const [pattern, setPattern] = useState("");
  const [error, setError] = useState("");
  const act = async () => {
    if (what === "some" && pattern.trim() === "") {
      setError(t("settings.clear.missing"));
      throw new DOMException("nothing is named", "AbortError");
    }
    const { cleared } = await post("/admin/cache/clear", what === "all" ? { scope: "all" } : { pattern: pattern.trim() });
    toast({ text: t("settings.cleared", { n: cleared }) });
    done();
  };
  return html`<${Confirm} title=${what === "all" ? t("settings.clear.title", { n: total }) : t("settings.clear.title.some")} label=${t("settings.clear.act")} act=${act} onClose=${onClose}>
    <div class="form">
      <${Seg} label=${t("settings.clear.what")} options=${[["all", t("settings.clear.all")], ["some", t("settings.clear.some")]]} value=${what} onChange=${setWhat} />
      ${what === "some" && html`<${Field} label=${t("settings.clear.pattern")} help=${t("settings.clear.pattern.help")} error=${error} control=${(a) => html`<input ...${a} class="input mono" placeholder="gpt-oss*" autocomplete="off" spellcheck=${false} value=${pattern} onInput=${(e) => { setPattern(e.target.value); setError(""); }} />`} />`}
      <p>${t("settings.clear.more")}</p>
    </div>
  <//>`;
}

/** The panel of the caches. ttl is that of answers, "0" for none. */
export function Cache({ data: c, error, retry, ttl }) {
  const [asking, setAsking] = useState(false);
  const asked = c ? c.hits + c.misses : 0;
  const rows = c && [
    [t("settings.cache.entries"), number(c.totalEntries), t("settings.cache.kinds", { answers: c.byType.response, lists: c.byType.models })],
    [t("settings.cache.bytes"), bytes(c.bytes), ""],
    [t("settings.cache.hits"), number(c.hits), asked > 0 ? t("settings.cache.share", { share: share(c.hits, asked) }) : ""],
    [t("settings.cache.misses"), number(c.misses), c.bypassed > 0 ? t("settings.cache.bypassed", { n: c.bypassed }) : ""],
  ];
  return html`<section class="panel" aria-label=${t("settings.cache")}><div class="panel-head"><h2>${t("settings.cache")}</h2>${ttl === "0" && html`<span class="sub">${t("settings.cache.off")}</span>`}
      <div class="actions"><${Button} class="small danger" icon="trash" disabled=${!c || c.totalEntries === 0} onClick=${() => setAsking(true)}>${t("settings.clear")}<//></div></div>
    ${error && !c ? html`<${LoadError} error=${error} retry=${retry} title=${t("settings.cache.error")} />` : html`<dl class="figures foot" aria-busy=${String(!c)}>
      ${(rows ?? [0, 1, 2, 3]).map((r, i) => html`<div key=${i}>${rows ? html`<dt>${r[0]}</dt><dd>${r[1]}</dd><dd class="note">${r[2] || "\u00a0"}</dd>` : html`<dt><span class="bone w3"></span></dt><dd><span class="bone w2"></span></dd>`}</div>`)}
    </dl>`}
    ${asking && html`<${Clear} total=${c.totalEntries} done=${retry} onClose=${() => setAsking(false)} />`}
  </section>`;
}
