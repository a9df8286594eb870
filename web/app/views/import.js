// Importing keys, in three steps: choose, preview, import. The third has an
// address, so that it is found again after a reload.
import { html, useEffect, useRef, useState } from "../lib/preact.js";
import { get } from "../lib/api.js";
import { bytes } from "../lib/format.js";
import { jobs } from "../lib/live.js";
import { useLoad } from "../lib/load.js";
import { go, query, setQuery, withQuery } from "../lib/router.js";
import { t } from "../lib/words.js";
import { Icon } from "../parts/icon.js";
import { useJob } from "../parts/jobs.js";
import { PageHead } from "../parts/shell.js";
import { toast } from "../parts/toast.js";
import { Choose } from "./import/choose.js";
import { clear, together } from "./import/draft.js";
import { Earlier, useEarlier } from "./import/earlier.js";
import { FormError } from "./import/forms.js";
import { Preview } from "./import/preview.js";
import { Run, Running } from "./import/run.js";

const providers = ["ollama", "openrouter"];

function Steps({ at }) {
  return html`<ol class="steps" aria-label=${t("import.steps")}>${["choose", "preview", "run"].map((name, i) => html`<li key=${name} class=${i < at ? "done" : ""} aria-current=${i === at ? "step" : undefined}>
    <span class="dot">${i < at ? html`<${Icon} name="check" />` : i + 1}</span>${t(`import.step.${name}`)}</li>`)}</ol>`; // words: import.step.*
}

/** The largest body that the server takes, in bytes (Infinity while it is unknown), and how the setting says it. */
function useLimit() {
  const { data } = useLoad((signal) => get("/admin/settings", {}, { signal }), []);
  const said = data?.settings.find((s) => s.name === "IMPORT_MAX_BYTES")?.value ?? "";
  const m = /^(\d+)\s*([kMG]?)(i?)B?$/i.exec(said);
  if (!m) return [Infinity, ""];
  return [Number(m[1]) * (m[3] ? 1024 : 1000) ** ["", "k", "m", "g"].indexOf(m[2].toLowerCase()), m[2] ? `${m[1]}\u202f${m[2]}${m[3]}B` : bytes(Number(m[1]))];
}

export default function View() {
  const provider = providers.includes(query.value.provider) ? query.value.provider : "ollama";
  const job = query.value.job ?? "";
  const [limit, limitText] = useLimit();
  const [what, setWhat] = useState(null); // what is looked at in step 2
  const [turn, setTurn] = useState(0);
  const running = jobs.value.filter((j) => j.kind === "import");
  const followed = useJob(job);
  const earlier = useEarlier(`${turn} ${job} ${followed?.state} ${running.map((j) => j.id).join(" ")}`);
  const rate = earlier.data?.jobs.find((j) => j.state === "done" && j.counts.valid !== undefined && j.done >= 100)?.rate;
  const top = useRef(null);
  const here = useRef(true);
  useEffect(() => () => {
    here.current = false;
  }, []);

  useEffect(() => {
    if (job !== "") setWhat(null);
  }, [job]);
  // Another step begins at its beginning, also for who hears it.
  const step = job !== "" ? 2 : what ? 1 : 0;
  const was = useRef(step);
  useEffect(() => {
    if (was.current !== step) {
      scrollTo(0, 0);
      top.current?.focus({ preventScroll: true });
    }
    was.current = step;
  }, [step]);

  const choose = (p) => setQuery({ provider: p === "ollama" ? "" : p }, { replace: true });
  const preview = async () => {
    try {
      const made = await together();
      if (made.blob.size > limit) throw new FormError("limit");
      setWhat(made);
    } catch (e) {
      const name = e instanceof FormError ? e.message : "unreadable";
      toast({ state: "failed", text: t("import.cannot"), more: t(`import.cannot.${name}`) }); // words: import.cannot.*
    }
  };
  const leave = (all) => {
    if (all) clear();
    setWhat(null);
  };
  const started = async (said, checked) => {
    const id = checked ? said.job.id : await entryOf(said, provider);
    clear();
    setWhat(null);
    setTurn(turn + 1);
    if (id && here.current) go(withQuery({ job: id, page: "", pageSize: "" }));
    else if (!checked) toast({ text: t("import.added.toast", { n: said.added }) });
  };
  return html`<div class="stack" ref=${top} tabindex="-1">
    <${PageHead} title=${t("import.title")}><${Steps} at=${step} /><//>
    ${step === 2 && html`<${Run} job=${followed} />`}
    ${step < 2 && running.map((j) => html`<${Live} key=${j.id} job=${j} list=${earlier.data?.running} />`)}
    ${step === 0 && html`<${Choose} provider=${provider} onProvider=${choose} limit=${limit} limitText=${limitText} ready=${preview} />`}
    ${step === 1 && html`<${Preview} what=${what} provider=${provider} onProvider=${choose} rate=${rate} leave=${leave} started=${started} changed=${() => setTurn(turn + 1)} />`}
    <${Earlier} list=${earlier} open=${job} />
  </div>`;
}

/** An import that runs, beside whatever one does here; list has what the live figures do not tell. */
const Live = ({ job, list }) => html`<${Running} job=${{ ...list?.find((j) => j.id === job.id), ...job }} link />`;

/** The entry that a plain import has in the list, "" where it is not found. */
async function entryOf(said, provider) {
  try {
    const { jobs: newest } = await get("/admin/jobs", { kind: "import", pageSize: 5 });
    return newest.find((j) => j.provider === provider && j.state === "done" && j.counts.valid === undefined && j.counts.added === said.added && j.counts.existing === said.existing && j.counts.bad === said.invalidTotal)?.id ?? "";
  } catch {
    return ""; // it was imported all the same
  }
}
