// Export: the ticked keys, or all that match, as a file.
import { html, useState } from "../../lib/preact.js";
import { address } from "../../lib/router.js";
import { save } from "../../lib/save.js";
import { t } from "../../lib/words.js";
import { Dialog, ErrorNote } from "../../parts/dialog.js";
import { Button, Seg } from "../../parts/form.js";
import { toast } from "../../parts/toast.js";
import { exported } from "./acts.js";
import { WholeNote } from "./ask.js";
import { secretSearch } from "./filter.js";

const formats = [["txt", "Text"], ["csv", "CSV"], ["jsonl", "JSON"]];

/** Asks for the format, and whether keys are to be whole. target is what is exported. */
export function Export({ target, onClose }) {
  const [format, setFormat] = useState("txt");
  const [whole, setWhole] = useState(false);
  const [sure, setSure] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const many = target.filter !== undefined && secretSearch.value === "";
  const label = t(whole ? "keys.export.act.whole" : "keys.export.act", { n: target.count });
  const begun = () => {
    toast({ state: "info", text: t("keys.export.begun"), more: t("keys.export.begun.more") });
    onClose();
  };
  const run = async () => {
    setBusy(true);
    setError(null);
    try {
      const { name, blob } = await exported(target, format, whole);
      save(name, blob);
      begun();
    } catch (e) {
      setBusy(false);
      setError(e);
    }
  };
  const closed = whole && !sure;
  const file = address("/admin/api-keys/export", { ...target.filter, provider: target.provider, format, reveal: whole ? "true" : "" });
  const footer = html`<button type="button" class="btn" disabled=${busy} onClick=${onClose}>${t("cancel")}</button>
    ${many && !closed
      ? html`<a class="btn primary" href=${file} download onClick=${begun}>${label}</a>`
      : html`<${Button} class="primary" busy=${busy} disabled=${closed} onClick=${run}>${label}<//>`}`;
  return html`<${Dialog} title=${t("keys.export.title", { n: target.count })} onClose=${onClose} busy=${busy} footer=${footer}>
    <div class="form">
      <div class="field"><span class="label">${t("keys.export.format")}</span>
        <${Seg} label=${t("keys.export.format")} value=${format} onChange=${setFormat} options=${formats.map(([f, name]) => [f, f === "txt" ? t("keys.export.text") : name])} />
        <span class="help">${t(`keys.export.${format}.more`)}</span></div>
      <label class="check"><input type="checkbox" checked=${whole} onChange=${(e) => { setWhole(e.target.checked); setSure(false); }} /><span>${t("keys.export.whole")}<small>${t("keys.export.whole.more")}</small></span></label>
      ${whole && html`<${WholeNote} /><label class="check"><input type="checkbox" checked=${sure} onChange=${(e) => setSure(e.target.checked)} /><span>${t("keys.export.sure")}</span></label>`}
      ${error && html`<${ErrorNote} error=${error} />`}
    </div>
  <//>`;
} // words: keys.export.*
