// The theme: follows the system until one is chosen.
import { effect, signal } from "./preact.js";

/** "system", "light" or "dark". */
export const theme = signal(document.documentElement.dataset.theme ?? "system");

const order = ["system", "light", "dark"];

/** Chooses the next theme, and remembers it. */
export function nextTheme() {
  const chosen = order[(order.indexOf(theme.value) + 1) % order.length];
  try {
    if (chosen === "system") localStorage.removeItem("theme");
    else localStorage.setItem("theme", chosen);
  } catch {
    // storage is switched off: it holds for this page
  }
  show(chosen);
}

function show(chosen) {
  dress(chosen);
  theme.value = chosen;
}

function dress(chosen) {
  if (chosen === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
}

// Another window of this browser chose.
addEventListener("storage", (e) => {
  if (e.key !== "theme" && e.key !== null) return;
  const chosen = ["light", "dark"].includes(e.newValue) ? e.newValue : "system";
  if (chosen !== theme.peek()) show(chosen);
});

/** Counts how often the colours changed; charts read them anew then. */
export const colours = signal(0);

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => colours.value++);
effect(() => {
  theme.value;
  colours.value = colours.peek() + 1;
});

// Paper is white. Charts are drawn for it, and for the screen again.
addEventListener("beforeprint", () => {
  dress("light");
  colours.value++;
});
addEventListener("afterprint", () => {
  dress(theme.peek());
  colours.value++;
});

/** The value of a custom property, such as "--traffic", as a colour that a canvas understands. */
export function colour(name) {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}
