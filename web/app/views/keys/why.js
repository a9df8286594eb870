// Why a key is out: what it is, until when, whose fault, what happens by itself,
// and what one can do.
import { html } from "../../lib/preact.js";
import { day, hour, secondsUntil, span } from "../../lib/format.js";
import { figures } from "../../lib/live.js";
import { plainReason, reason, reasonStatus } from "../../lib/reasons.js";
import { language, rich, t } from "../../lib/words.js";
import { providerName } from "../../parts/form.js";
import { Icon } from "../../parts/icon.js";
import { now } from "../../parts/time.js";

/** The head line: what, and until when. */
function headline(k) {
  const at = k.returns_at && hour(k.returns_at);
  switch (k.status) {
    case "resting": return at ? t("keys.why.resting", { at }) : t("keys.why.resting.ever");
    case "failed": return at ? t("keys.why.failed", { at }) : t("keys.why.failed.ever");
    case "expired": return t("keys.why.expired", { at: day(k.expires_at) });
    case "disabled":
      if (k.disabled_reason === "auto") return at ? t("keys.why.auto", { at }) : t("keys.why.auto.ever");
      return at ? t("keys.why.manual", { at }) : t("keys.why.manual.ever");
  }
  return k.refused_models.length > 0 ? t("keys.why.but", { n: k.refused_models.length }) : t("keys.why.active");
}

/** Whose fault it is, as a sentence. */
function fault(k) {
  const what = reason(k.last_error);
  switch (k.status) {
    case "resting": return k.account ? t("keys.fault.resting", { what }) : t("keys.fault.resting.alone", { what });
    case "failed": return t("keys.fault.failed", { what });
    case "expired": return t("keys.fault.expired");
    case "disabled": return k.disabled_reason === "auto" ? t("keys.fault.auto", { n: k.consecutive_failures, what }) : t("keys.fault.manual");
  }
  if (k.consecutive_failures > 0) return t("keys.fault.active.row", { n: k.consecutive_failures });
  return k.total_requests === 0 ? t("keys.fault.active.new") : "";
}

/** What happens by itself. */
function byItself(k) {
  if (k.status === "active") return k.expires_at ? t("keys.self.expires", { at: day(k.expires_at) }) : "";
  if (k.status === "expired") return t("keys.self.not");
  if (k.returns_at) {
    const others = k.status === "resting" && k.account ? Math.max(0, k.account.resting - 1) : 0;
    const left = span(secondsUntil(k.returns_at, now.value));
    return others > 0 ? rich("keys.self.returns.all", { left, n: others, account: html`<bdi>${k.account.username}</bdi>` }) : t("keys.self.returns", { left });
  }
  const ends = k.expires_at && (k.rests_until || k.failed_until || k.disabled_until);
  return ends ? t("keys.self.ends", { at: day(k.expires_at) }) : t("keys.self.waits");
}

/** What one can do, beyond the buttons. */
function advice(k) {
  if (k.status === "expired") return t("keys.advice.expired");
  if (k.status === "failed" || (k.status === "disabled" && k.disabled_reason === "auto")) return t("keys.advice.failed");
  return "";
}

/** What keeps the whole provider from serving, if anything does. */
function outside(k) {
  const p = figures.value?.providers?.find((p) => p.provider === k.provider);
  if (!p) return "";
  if (p.enabled === false) return t("keys.outside.off", { provider: providerName(k.provider) });
  if (p.breaker?.open) return t("keys.outside.open", { provider: providerName(k.provider) });
  return "";
}

/** The answer, with the acts below it. */
export function Why({ of: k, children }) {
  const whole = [fault(k), byItself(k), advice(k)].filter((s) => s !== "");
  const gap = language.value === "zh" ? "" : " ";
  const around = outside(k);
  return html`<section class=${`why s-${k.status}`}>
    <p class="headline"><${Icon} name=${k.status} />${headline(k)}</p>
    ${whole.length > 0 && html`<p class="muted">${whole.map((s, i) => html`${i > 0 && gap}${s}`)}</p>`}
    ${around && html`<p class="muted">${around}</p>`}
    ${k.last_error && k.disabled_reason !== "manual" && html`<blockquote>${[reasonStatus(k.last_error), plainReason(k.last_error)].filter(Boolean).join(" · ")}</blockquote>`}
    <div class="btn-row">${children}</div>
  </section>`;
}
