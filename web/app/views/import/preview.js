// Step 2: what the server makes of it. Nothing is stored yet.
import { html, useEffect, useRef, useState } from "../../lib/preact.js";
import { bytes, middle, number, share, span } from "../../lib/format.js";
import { jobs } from "../../lib/live.js";
import { reason } from "../../lib/reasons.js";
import { save } from "../../lib/save.js";
import { upload } from "../../lib/upload.js";
import { t } from "../../lib/words.js";
import { ErrorNote } from "../../parts/dialog.js";
import { Button, Providers } from "../../parts/form.js";
import { Icon } from "../../parts/icon.js";
import { Progress } from "../../parts/jobs.js";
import { Table } from "../../parts/table.js";
import { formName } from "./names.js";

const shown = 6; // lines, and kinds of bad ones
const longestName = 200; // characters of the names of many files that are sent along, which proxies must let through

/** Where a body is sent: to be read, to be imported, and to be imported after a check. */
const paths = (json) => ({
  plain: `/admin/api-keys/import${json ? "" : "-from-txt"}`,
  checked: "/admin/api-keys/import-with-validation",
});

/** Asks the server what it would do, again when the provider changes: { answer, error, sent }. */
function usePreview(what, provider, turn) {
  const [state, setState] = useState({ sent: 0 });
  useEffect(() => {
    const stop = new AbortController();
    setState({ sent: 0 });
    upload(paths(what.json).plain, {
      query: { provider, dryRun: true }, body: what.blob, type: what.type, signal: stop.signal,
      progress: (sent) => setState((s) => ({ ...s, sent })),
    }).then((answer) => setState({ answer, sent: what.blob.size }), (error) => {
      if (!stop.signal.aborted) setState({ error, sent: 0 });
    });
    return () => stop.abort();
  }, [what, provider, turn]);
  return state;
}

/**
 * what is what together of draft.js gives. leave(clear) goes back to step 1, and
 * started(answer, checked) is called when the import is done, or began.
 */
export function Preview({ what, provider, onProvider, rate, leave, started, changed }) {
  const [turn, setTurn] = useState(0);
  const { answer, error, sent } = usePreview(what, provider, turn);
  const [check, setCheck] = useState(true);
  const [include, setInclude] = useState(false);
  const [run, setRun] = useState(null); // { sent, error } once it was asked to begin
  const stop = useRef(null);
  const whole = useRef(false); // what was sent entirely comes to its end, also when one leaves the page
  useEffect(() => () => {
    if (!whole.current) stop.current?.abort();
  }, []);
  const busy = run !== null && !run.error;
  const begin = async () => {
    stop.current = new AbortController();
    setRun({ sent: 0 });
    whole.current = false;
    try {
      const said = await upload(paths(what.json)[check ? "checked" : "plain"], {
        query: { provider, ...(check && { async: true, includeInconclusive: include }) }, body: what.blob, type: what.type, signal: stop.current.signal,
        headers: what.name === "" ? {} : { "X-Import-Source": encodeURIComponent(middle(what.name, longestName).toWellFormed()) },
        progress: (n) => {
          whole.current = n >= what.blob.size;
          setRun({ sent: n });
        },
      });
      started(said, check);
    } catch (e) {
      if (e.name === "AbortError") {
        setRun(null);
        return;
      }
      setRun({ sent: 0, error: e });
      if (e.status === 0) changed();
    }
  };
  const title = what.name || t("import.pasted.text");
  const sub = what.lines === undefined ? t("import.read", { size: bytes(what.size) }) : t("import.read.lines", { size: bytes(what.size), n: what.lines });
  return html`<section class="panel" aria-labelledby="preview" aria-busy=${busy}>
    <div class="panel-head"><h2 id="preview" class="cut-name">${title}</h2><span class="sub">${sub}</span>
      <div class="actions"><button type="button" class="btn small ghost" disabled=${busy} onClick=${() => leave(what.name !== "")}>${what.name === "" ? t("import.change") : t("import.other")}</button></div></div>
    ${error ? html`<${Refused} error=${error} retry=${() => setTurn(turn + 1)} />` : html`<${Figures} answer=${answer} />
    ${answer ? html`<${Details} answer=${answer} what=${what} />` : html`<div class="panel-body read"><${Sending} sent=${sent} of=${what.blob.size} label=${t("import.reading")} /></div>`}`}
    <div class="options">
      <div class="field"><span class="label">${t("provider")}</span><fieldset disabled=${busy}><${Providers} value=${provider} onChange=${onProvider} /></fieldset></div>
      <div class="choices">
        <label class="check"><input type="checkbox" class="switch" role="switch" checked=${check} disabled=${busy} onChange=${(e) => setCheck(e.target.checked)} /><span>${t("import.check")}<small>${check ? estimate(answer?.added ?? 0, rate) : t("import.check.off")}</small></span></label>
        ${check && html`<label class="check"><input type="checkbox" checked=${include} disabled=${busy} onChange=${(e) => setInclude(e.target.checked)} /><span>${t("import.include")}</span></label>`}
      </div>
      <div class="btn-row">
        <button type="button" class="btn" disabled=${busy && run.sent >= what.blob.size} onClick=${() => (busy ? stop.current.abort() : leave(true))}>${t("cancel")}</button>
        <${Button} class="primary" busy=${busy} disabled=${!answer || answer.added === 0} onClick=${begin}>${answer ? t("import.go", { n: answer.added }) : t("import.go.unknown")}<//>
      </div>
    </div>
    ${busy && what.blob.size > 1e6 && html`<div class="panel-body read"><${Sending} sent=${run.sent} of=${what.blob.size} label=${t("import.sending")} /></div>`}
    ${run?.error && html`<div class="panel-body read"><${Failed} error=${run.error} provider=${provider} /></div>`}
  </section>`;
}

/** How long a check takes, by how quick the last one was. */
function estimate(n, rate) {
  const seconds = n / Math.min(200, rate || 150);
  return seconds < 10 ? t("import.check.soon") : t("import.check.time", { span: span(seconds < 600 ? Math.round(seconds / 10) * 10 : Math.round(seconds / 60) * 60), n });
}

/** How much of a body has gone, and that the server reads it then. */
const Sending = ({ sent, of, label }) => html`<${Progress} done=${sent} total=${of} label=${label}>
  ${sent < of ? html`<b>${label}</b> <span class="muted">${t("import.sent", { sent: bytes(sent), of: bytes(of) })}</span>` : html`<b>${t("import.stored")}</b>`}
<//>`;

/** The server does not take it at all. */
const Refused = ({ error, retry }) => html`<div class="panel-body read"><${ErrorNote} error=${error} />
  <p class="btn-row again"><${Button} class="small" icon="refresh" onClick=${retry}>${t("retry")}<//></p></div>`;

/** Why an import did not begin. */
function Failed({ error, provider }) {
  const other = jobs.value.find((j) => j.provider === provider);
  if (error.status === 409) {
    return html`<div class="note-box s-resting" role="alert"><${Icon} name="clock" /><div>${t("import.conflict")} ${other?.kind === "import" && html`<a href=${`/dashboard/import?job=${other.id}`}>${t("import.conflict.see")}</a>`}</div></div>`;
  }
  if (error.status === 0 && error.sent) return html`<div class="note-box s-failed" role="alert"><${Icon} name="offline" /><div>${t("import.unsure")}</div></div>`;
  return html`<${ErrorNote} error=${error} />`;
}

function Figures({ answer }) {
  const bone = html`<span class="bone w2"></span>`;
  const lines = answer ? answer.added + answer.existing + answer.invalidTotal : 0;
  const figure = (name, n, note) => html`<div><dt>${t(`import.figure.${name}`)}</dt><dd>${answer ? number(n) : bone}</dd><dd class="note">${answer ? note : " "}</dd></div>`; // words: import.figure.*
  return html`<dl class="figures flush" aria-label=${t("import.preview")}>
    ${figure("new", answer?.added, t("import.figure.new.note", { share: share(answer?.added ?? 0, lines) }))}
    ${figure("known", answer && answer.existing - answer.repeated, t("import.figure.known.note"))}
    ${figure("twice", answer?.repeated, t("import.figure.twice.note"))}
    ${figure("bad", answer?.invalidTotal, t("import.figure.bad.note"))}
  </dl>`;
}

function Details({ answer, what }) {
  const bad = grouped(answer.invalid, what.place);
  const columns = [
    { id: "line", label: what.place(1).entry ? t("import.entry") : t("import.line"), class: "num muted d", head: "num line-no", cell: (l) => placeName(what.place(l.line), true) },
    { id: "account", label: t("import.account"), class: "a", cell: (l) => l.username || html`<span class="muted">–</span>` },
    { id: "key", label: t("import.key"), class: "mono nowrap c", head: "nowrap", cell: (l) => l.key },
    { id: "form", label: t("import.form"), class: "muted nowrap b", cell: (l) => formName(l.form) },
  ];
  return html`<div class="cols halves joined">
    <div><div class="head-line"><h3>${t("import.how")}</h3></div>
      ${answer.preview?.length > 0
        ? html`<${Table} label=${t("import.how")} columns=${columns} rows=${answer.preview.slice(0, shown)} rowKey=${(l) => l.line} />`
        : html`<p class="hint none">${t("import.how.none")}</p>`}
      <p class="hint pad"><${Icon} name="lock" />${t("import.dropped")}</p></div>
    <div><div class="head-line"><h3>${t("import.bad")}</h3>${answer.invalid.length > 0 && html`<button type="button" class="btn small ghost" onClick=${() => download(answer, what)}><${Icon} name="download" />${t("import.bad.all", { n: answer.invalid.length })}</button>`}</div>
      ${bad.length === 0
        ? html`<p class="hint none">${t("import.bad.none")}</p>`
        : html`<div class="table-wrap"><table aria-label=${t("import.bad")}><thead><tr><th class="num line-no">${columns[0].label}</th><th>${t("import.reason")}</th></tr></thead>
          <tbody>${bad.slice(0, shown).map((g) => html`<tr key=${g.key}><td class="num muted nowrap">${g.at}</td><td>${reason(g.why)}</td></tr>`)}</tbody></table></div>
          ${bad.length > shown && html`<p class="hint pad">${t("import.bad.more", { n: answer.invalidTotal - bad.slice(0, shown).reduce((n, g) => n + g.count, 0) })}</p>`}`}
    </div>
  </div>`;
}

const placeName = ({ name, line, entry }, short) => (entry ? number(entry) : name && !short ? `${name}: ${number(line)}` : number(line));

/** Bad lines in a row that are bad for the same reason, as one: { key, at, reason, count }. */
function grouped(invalid, place) {
  const out = [];
  for (const { line, reason: why } of invalid) {
    const last = out[out.length - 1];
    if (last && last.why === why && last.to === line - 1 && place(line).name === last.place.name) {
      last.to = line;
      last.count++;
      continue;
    }
    if (out.length > 1000) continue; // enough to be looked at
    out.push({ key: line, why, count: 1, to: line, place: place(line) });
  }
  for (const g of out) {
    const from = placeName(g.place);
    g.at = g.count === 1 ? from : `${from} – ${placeName(place(g.to), true)}`;
  }
  return out;
}

/** The bad lines as a table: numbers and reasons, never what stands in a line. */
function download(answer, what) {
  const quoted = (s) => `"${s.replaceAll('"', '""')}"`;
  const rows = answer.invalid.map(({ line, reason: why }) => {
    const at = what.place(line);
    return `${quoted(at.name ?? "")},${at.entry ?? at.line},${quoted(reason(why))}`;
  });
  save("bad-lines.csv", new Blob([`\ufefffile,line,reason\r\n${rows.join("\r\n")}\r\n`], { type: "text/csv" }));
}
