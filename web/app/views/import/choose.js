// Step 1: what is to be imported.
import { html, useEffect, useRef, useState } from "../../lib/preact.js";
import { bytes } from "../../lib/format.js";
import { rich, t } from "../../lib/words.js";
import { Button, Field, IconButton, Providers } from "../../parts/form.js";
import { Icon, Spinner } from "../../parts/icon.js";
import { add, addText, clear, drop, files, longest, some, typed } from "./draft.js";

const accepted = ".txt,.csv,.tsv,.json,.jsonl,text/plain,text/csv,application/json";

/** limit is the largest body, in bytes, and limitText how the setting says it; ready is called to go on. */
export function Choose({ provider, onProvider, limit, limitText, ready }) {
  const [busy, setBusy] = useState(false);
  const over = useFiles(limit);
  const looking = files.value.some((f) => f.form === undefined && f.error === "");
  const wrong = files.value.some((f) => f.error !== "");
  const next = async () => {
    setBusy(true);
    await ready();
    setBusy(false);
  };
  return html`<div class="cols two-one">
    <section class="panel fill" aria-labelledby="choose">
      <div class="panel-head"><h2 id="choose">${t("import.choose")}</h2><div class="actions"><${Providers} value=${provider} onChange=${onProvider} /></div></div>
      <div class="panel-body form">
        <div class=${`drop${over ? " is-over" : ""}`}>
          <${Icon} name="upload" large />
          <span>${over ? t("import.drop.over") : t("import.drop")}</span>
          <label class="btn"><input class="sr-only" type="file" multiple accept=${accepted} onChange=${(e) => { add(e.target.files, limit); e.target.value = ""; }} />${t("import.pick")}</label>
          <span class="hint">${limitText === "" ? t("import.kinds") : t("import.kinds.limit", { size: limitText })}</span>
        </div>
        ${files.value.length > 0 && html`<ul class="list files" aria-label=${t("import.files")}>${files.value.map((f) => html`<${File} key=${f.id} file=${f} limit=${limitText} />`)}</ul>`}
        <${Field} label=${t("import.paste")} control=${(a) => html`<textarea ...${a} class="area mono lines" spellcheck=${false} autocomplete="off" autocapitalize="off" wrap="off"
          placeholder=${t("import.paste.hint")} value=${typed.value} onInput=${(e) => (typed.value = e.target.value)} onPaste=${(e) => takePaste(e, limit)}></textarea>`} />
      </div>
      <div class="options"><p class="hint line"><${Icon} name="lock" />${t("import.dropped")}</p>
        <div class="btn-row">
          ${some.value && html`<button type="button" class="btn ghost" onClick=${clear}>${t("import.clear")}</button>`}
          <${Button} class="primary" busy=${busy} disabled=${!some.value || looking || wrong} onClick=${next}>${t("import.preview")}<//>
        </div>
      </div>
    </section>
    <${Forms} />
  </div>`;
}

/** Takes files and long texts out of a paste; a short text goes into the field by itself. */
function takePaste(e, limit) {
  if (e.clipboardData.files.length > 0) {
    e.preventDefault();
    add(e.clipboardData.files, limit);
    return;
  }
  const text = e.clipboardData.getData("text/plain");
  if (text.length <= longest) return;
  e.preventDefault();
  addText(text, limit);
}

/** Takes what is dropped or pasted anywhere on the page; true while a file is held over it. */
function useFiles(limit) {
  const [over, setOver] = useState(false);
  const most = useRef(limit);
  most.current = limit;
  useEffect(() => {
    let depth = 0;
    const carries = (e) => e.dataTransfer?.types.includes("Files");
    const enter = (e) => {
      if (carries(e)) setOver(++depth > 0);
    };
    const leave = (e) => {
      if (carries(e)) setOver((depth = Math.max(0, depth - 1)) > 0);
    };
    const hold = (e) => {
      if (carries(e)) e.preventDefault();
    };
    const take = (e) => {
      if (!carries(e)) return;
      e.preventDefault();
      depth = 0;
      setOver(false);
      add(e.dataTransfer.files, most.current);
    };
    const paste = (e) => {
      if (e.target instanceof Element && e.target.closest("input, textarea")) return;
      const text = e.clipboardData.getData("text/plain");
      if (e.clipboardData.files.length > 0) add(e.clipboardData.files, most.current);
      else if (text.length > longest || typed.value !== "") addText(text, most.current);
      else if (text.trim() !== "") typed.value = text;
    };
    const heard = { dragenter: enter, dragleave: leave, dragover: hold, drop: take, paste };
    for (const [name, f] of Object.entries(heard)) addEventListener(name, f);
    return () => {
      for (const [name, f] of Object.entries(heard)) removeEventListener(name, f);
    };
  }, []);
  return over;
}

/** A file that was chosen. */
function File({ file: f, limit }) {
  const name = f.name || t("import.pasted.text");
  const looking = f.form === undefined && f.error === "";
  const what = f.form?.lines !== undefined ? t("import.file.lines", { size: bytes(f.size), n: f.form.lines }) : bytes(f.size);
  return html`<li class=${f.error ? "s-failed" : ""}>
    ${looking ? html`<${Spinner} />` : html`<${Icon} name=${f.error ? "failed" : "file"} />`}
    <span class="what"><b>${name}</b><small>${f.error ? t(`import.file.${f.error}`, { size: bytes(f.size), limit }) : what}</small></span>
    <${IconButton} icon="close" class="ghost small do" label=${t("import.file.drop", { name })} onClick=${() => drop(f.id)} />
  </li>`; // words: import.file.*
}

const examples = [
  ["import.forms.bare", "0123456789abcdef0123456789abcdef.fakeKEY"],
  ["import.forms.user", "lin.wei----0123456789abcdef.fakeKEY"],
  ["import.forms.four", "lin.wei@example.com----password----session----0123456789abcdef.fakeKEY"],
  ["import.forms.five", "lin.wei@example.com----password----session;aid=42----42----0123456789abcdef.fakeKEY"],
];

/** A line whose separators are not broken. */
const Example = ({ text }) => html`<code>${text.split("----").map((field, i) => html`${i > 0 && html`<span class="nowrap">----</span><wbr />`}${field}`)}</code>`;

/** What a line may be. */
const Forms = () => html`<section class="panel" aria-labelledby="forms">
  <div class="panel-head"><h2 id="forms">${t("import.forms")}</h2></div>
  <dl class="forms">${examples.map(([key, text]) => html`<div key=${key}><dt>${t(key)}</dt><dd><${Example} text=${text} /></dd></div>`)}</dl>
  <div class="panel-body notes"><p>${rich("import.forms.fields")}</p><p>${rich("import.forms.lines")}</p><p>${rich("import.forms.lists")}</p></div>
</section>`;
