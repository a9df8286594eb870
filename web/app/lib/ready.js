// Says on <html data-ready> when a page shows what it was opened for: nothing
// that it needs is on its way any more.
let waiting = 0;
let timer = 0;

/** Begins something that the page waits for; the function that it returns ends it. */
export function wait() {
  waiting++;
  clearTimeout(timer);
  delete document.documentElement.dataset.ready;
  let over = false;
  return () => {
    if (over) return;
    over = true;
    waiting--;
    settle();
  };
}

function settle() {
  clearTimeout(timer);
  if (waiting > 0) return;
  // What was loaded is drawn in between, and may begin to wait for more.
  timer = setTimeout(() => requestAnimationFrame(() => {
    if (waiting === 0) document.documentElement.dataset.ready = "true";
  }), 0);
}
