// What needs attention: five things at most, what is mendable first. Each leads
// to where it is mended.
import { html, useState } from "../../lib/preact.js";
import { hour } from "../../lib/format.js";
import { plainReason, reason, reasonStatus } from "../../lib/reasons.js";
import { address } from "../../lib/router.js";
import { rich, t } from "../../lib/words.js";
import { Code } from "../../parts/copy.js";
import { Dialog } from "../../parts/dialog.js";
import { providerName } from "../../parts/form.js";
import { Icon } from "../../parts/icon.js";
import { shape } from "./shape.js";

const keysAt = (filter, more) => address("/dashboard/keys", { ...filter, ...more });
const list = (...parts) => parts.filter(Boolean).join(t("list.comma"));

/** What is said of an entry: { state, what, more, href, act }. */
const entries = {
  provider_down: (a) => ({
    state: "failed",
    what: a.reason
      ? rich("overview.attention.refuses", { provider: providerName(a.provider), reason: plainReason(a.reason) })
      : rich("overview.attention.silent", { provider: providerName(a.provider) }),
    more: list(t("overview.attention.down.more", { n: a.keys }), a.since && t("overview.attention.since", { at: hour(a.since) })),
    href: address("/dashboard/requests", { provider: a.provider, status: "failed" }),
    act: "show",
  }),
  keys_refused: (a) => ({
    state: a.filter.status === "disabled" ? "disabled" : "failed",
    what: rich("overview.attention.refused", { n: a.keys, reason: plainReason(a.reason) || t("overview.attention.unsaid") }),
    more: list(providerName(a.provider), reasonStatus(a.reason), a.filter.status === "disabled" && t("overview.attention.off"), a.since && t("overview.attention.since", { at: hour(a.since) })),
    href: keysAt(a.filter),
    act: "review",
  }),
  keys_resting: (a) => ({
    state: "resting",
    what: a.accounts > 0
      ? rich("overview.attention.resting", { n: a.accounts, limit: reason(a.reason) })
      : rich("overview.attention.resting.keys", { n: a.keys, limit: reason(a.reason) }),
    more: list(
      a.accounts > 0 ? t("overview.attention.keys", { n: a.keys }) : providerName(a.provider),
      a.until && t(a.accounts > 1 ? "overview.attention.back.first" : "overview.attention.back", { at: hour(a.until) }),
    ),
    href: keysAt(a.filter),
    act: "show",
  }),
  keys_expired: (a) => (a.keys > 0
    ? {
      state: "expired",
      what: rich("overview.attention.expired", { n: a.keys }),
      more: list(providerName(a.provider), a.soon > 0 && t("overview.attention.soon.more", { n: a.soon })),
      href: keysAt(a.filter),
      act: "show",
    }
    : {
      state: "expired",
      what: rich("overview.attention.soon", { n: a.soon }),
      more: providerName(a.provider),
      href: keysAt({ provider: a.filter.provider }, { sort: "expires_at" }),
      act: "show",
    }),
  store_unencrypted: () => ({
    state: "info",
    what: t("overview.attention.open"),
    more: rich("overview.attention.open.more"),
    act: "how",
  }),
};

function Entry({ of: a, how }) {
  const e = entries[a.kind]?.(a);
  if (!e) return null;
  const word = t(`overview.attention.${e.act}`); // words: overview.attention.*
  return html`<li class=${`s-${e.state}`}><${Icon} name=${e.state} /><span class="what">${e.what}<small>${e.more}</small></span>
    ${e.href ? html`<a class="do" href=${e.href}>${word}</a>` : html`<button type="button" class="do link" onClick=${how}>${word}</button>`}</li>`;
}

const keyOf = (a) => [a.kind, a.provider, a.reason, a.filter?.status].join(" ");

/** The panel; data is the overview, undefined while nothing has come yet. */
export function Attention({ data }) {
  const [how, setHow] = useState(false);
  const found = data?.attention;
  return html`<section class="panel" aria-label=${t("overview.attention")}>
    <div class="panel-head"><h2>${t("overview.attention")}</h2></div>
    <ul class="list">
      ${found === undefined
        ? Array.from({ length: shape().attention }, (_, i) => html`<li key=${i} aria-hidden="true"><span class="what"><span class=${`bone w${3 + (i % 2)}`}></span><small><span class="bone w2"></span></small></span></li>`)
        : found.map((a) => html`<${Entry} key=${keyOf(a)} of=${a} how=${() => setHow(true)} />`)}
      ${found?.length === 0 && html`<li class="s-active"><${Icon} name="active" /><span class="what">${t("overview.attention.none")}</span></li>`}
    </ul>
    ${how && html`<${Encrypt} onClose=${() => setHow(false)} />`}
  </section>`;
}

const commands = `export ENCRYPTION_KEY="$(openssl rand -hex 32)"
ollama-api-pool encryption on`;

/** How stored keys are encrypted. */
export const Encrypt = ({ onClose }) => html`<${Dialog} title=${t("overview.encrypt.title")} onClose=${onClose}>
  <ol class="numbered">
    <li>${t("overview.encrypt.1")}</li>
    <li>${t("overview.encrypt.2")}<${Code} text=${commands} label=${t("overview.encrypt.copy")} /></li>
    <li>${rich("overview.encrypt.3")}</li>
  </ol>
  <div class="note-box s-resting"><${Icon} name="info" /><div>${t("overview.encrypt.keep")}</div></div>
<//>`;
