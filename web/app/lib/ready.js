// Says on <html data-ready> when a page shows what it was opened for: nothing
// that it needs is on its way any more.
let waiting = 0;
let settling = 0; // counts, so that an older settling ends when something new begins

/** Begins something that the page waits for; the function that it returns ends it. */
export function wait() {
  waiting++;
  settling++;
  delete document.documentElement.dataset.ready;
  let over = false;
  return () => {
    if (over) return;
    over = true;
    waiting--;
    if (waiting === 0) settle();
  };
}

// What was loaded is drawn in between, and what is drawn may begin to wait for
// more: that happens just after a frame. A page that nobody looks at has no
// frames.
function settle() {
  const mine = ++settling;
  const say = () => {
    if (mine === settling) document.documentElement.dataset.ready = "true";
  };
  const drawn = () => setTimeout(say, 0);
  setTimeout(() => (document.hidden ? setTimeout(drawn, 50) : requestAnimationFrame(drawn)), 0);
}
