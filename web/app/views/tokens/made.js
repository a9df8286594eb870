// The token that was just made. It is shown this once: who closes without having
// copied it is told so first.
import { html, useEffect, useRef, useState } from "../../lib/preact.js";
import { get } from "../../lib/api.js";
import { dated, secondsUntil, span } from "../../lib/format.js";
import { freshToken } from "../../lib/handover.js";
import { useLoad } from "../../lib/load.js";
import { address } from "../../lib/router.js";
import { t } from "../../lib/words.js";
import { Copy, Secret } from "../../parts/copy.js";
import { Dialog } from "../../parts/dialog.js";
import { providerName } from "../../parts/form.js";
import { Icon } from "../../parts/icon.js";
import { Tabs } from "../../parts/tabs.js";
import { Painted, examples } from "./examples.js";

/** Whether a token may stand in the address; until that is known it may, as is the rule. */
function useTokenInPath() {
  const { data } = useLoad((signal) => get("/admin/settings", {}, { signal }), []);
  return data?.settings.find((s) => s.name === "TOKEN_IN_PATH")?.value !== "false";
}

/** made is what the API answered. */
export function Made({ made, onClose }) {
  const inPath = useTokenInPath();
  const [copied, setCopied] = useState(false);
  const [warned, setWarned] = useState(false);
  const [tab, setTab] = useState("curl");
  const body = useRef(null);
  const list = examples({ origin: location.origin, token: made.token, providers: made.providers, inPath });
  const [, , text] = list.find(([id]) => id === tab) ?? list[0];
  const have = () => setCopied(true);
  useEffect(() => {
    if (copied) return undefined;
    const ask = (e) => e.preventDefault();
    addEventListener("beforeunload", ask);
    return () => removeEventListener("beforeunload", ask);
  }, [copied]);
  const close = () => {
    if (copied || warned) {
      onClose();
      return;
    }
    setWarned(true);
    body.current?.querySelector(".secret .btn")?.focus();
  };
  const selected = () => {
    if (String(getSelection()).includes(made.token)) have();
  };
  const provider = made.providers.length === 1 && made.providers[0] !== "ollama" ? made.providers[0] : "";
  const footer = html`<a class="btn" href=${address("/dashboard/playground", { provider })} onClick=${() => (freshToken.value = made.token)}>${t("tokens.try")}</a>
    <button type="button" class="btn primary" onClick=${close}>${warned && !copied ? t("tokens.close.anyway") : t("tokens.done")}</button>`;
  const warning = warned && !copied;
  return html`<${Dialog} wide title=${t("tokens.ready", { name: made.name })} onClose=${close} footer=${footer}>
    <div class="form" ref=${body} onCopy=${selected}>
      <div class=${`note-box s-${warning ? "failed" : "resting"}`} role=${warning ? "alert" : undefined}><${Icon} name="failed" /><div>${warning ? t("tokens.once.warning") : t("tokens.once")}</div></div>
      <${Secret} text=${made.token} label=${t("copy")} class="primary" onCopied=${have} />
      <dl class="facts"><dt>${t("tokens.providers")}</dt><dd>${made.providers.map(providerName).join(t("tokens.and"))}</dd>
        <dt>${t("tokens.valid.until")}</dt><dd>${made.expiresAt ? html`${dated(made.expiresAt)} <span class="hint">${span(secondsUntil(made.expiresAt))}</span>` : t("tokens.valid.never")}</dd></dl>
      <div><${Tabs} label=${t("tokens.example")} items=${list.map(([id, name]) => [id, name])} value=${list.some(([id]) => id === tab) ? tab : "curl"} onChange=${setTab}
          panel=${html`<div class="code"><pre tabindex="0"><${Painted} text=${text} /></pre></div>`} />
        <p class="btn-row end copy-row"><${Copy} text=${text} label=${t("tokens.example.copy")} words onCopied=${have} /></p></div>
    </div>
  <//>`;
}
