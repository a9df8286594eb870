// The settings: what the program runs with, how that stands, and what it keeps.
import { html, useState } from "../lib/preact.js";
import { get } from "../lib/api.js";
import { link } from "../lib/live.js";
import { useLoad } from "../lib/load.js";
import { reason } from "../lib/reasons.js";
import { known, rich, t } from "../lib/words.js";
import { Icon } from "../parts/icon.js";
import { PageHead } from "../parts/shell.js";
import { Encrypt } from "./overview/attention.js";
import { Cache } from "./settings/cache.js";
import { Settings } from "./settings/list.js";
import { Instances, Program, Storage, Upstreams } from "./settings/parts.js";

const anew = 10000; // ms after which everything is loaded again

const unencrypted = (warning) => warning.startsWith("ENCRYPTION_KEY is not set");

/** The word for a warning about a setting, else the warning itself. */
function told(warning) {
  const name = /^[A-Z_]+/.exec(warning)?.[0].toLowerCase() ?? "";
  const key = unencrypted(warning) ? "settings.warning.encryption" : `settings.warning.${name}`;
  return known(key) ? rich(key) : html`<span lang="en">${warning}</span>`; // words: settings.warning.*
}

/** What the start warned of, and what is out of reach now. */
function Warnings({ data }) {
  const [how, setHow] = useState(false);
  if (!data || data.warnings.length + data.storage.degraded.length === 0) return null;
  return html`<div class="note-box s-resting" role="status"><${Icon} name="failed" /><div>
    ${data.storage.degraded.map((d) => html`<p key=${d} lang=${reason(d) === d ? "en" : undefined}>${reason(d)}</p>`)}
    ${data.warnings.map((w) => html`<p key=${w}>${told(w)}${unencrypted(w) && html` <button type="button" class="link" onClick=${() => setHow(true)}>${t("settings.storage.how")}</button>`}</p>`)}
  </div></div>
  ${how && html`<${Encrypt} onClose=${() => setHow(false)} />`}`;
}

export default function View() {
  const settings = useLoad((signal) => get("/admin/settings", {}, { signal }), [], { every: anew });
  const cache = useLoad((signal) => get("/admin/cache/stats", {}, { signal }), [], { every: anew });
  const { data, error, reload: retry } = settings;
  const all = { data, error, retry };
  const ttl = data?.settings.find((s) => s.name === "RESPONSE_CACHE_TTL")?.value;
  return html`<${PageHead} title=${t("nav.settings")} sub=${data && html`<p class="sub">${t("settings.sub")}</p>`} />
    ${error && data && link.value !== "away" && html`<div class="note-box s-resting" role="status"><${Icon} name="offline" /><div>${t("settings.stale", { message: error.message })}</div></div>`}
    <${Warnings} data=${data} />
    <div class="cols halves standing"><div class="stack"><${Storage} ...${all} /><${Instances} ...${all} /></div><div class="stack"><${Upstreams} ...${all} /><${Program} ...${all} /></div></div>
    <${Cache} data=${cache.data} error=${cache.error} retry=${cache.reload} ttl=${ttl} />
    <${Settings} ...${all} />`;
}
