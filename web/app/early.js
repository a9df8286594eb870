// Runs before anything is drawn, so that the page does not flash: the chosen
// theme and language are put on <html>, and the words are asked for early.
(function () {
  "use strict";
  var root = document.documentElement;
  function stored(name) {
    try {
      return localStorage.getItem(name);
    } catch {
      return null; // storage is switched off
    }
  }
  var theme = stored("theme");
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  var language = stored("language") || navigator.language || "en";
  var code = /^zh/i.test(language) ? "zh" : "en";
  root.lang = code === "zh" ? "zh-CN" : "en";
  var hint = document.createElement("link");
  hint.rel = "modulepreload";
  hint.href = new URL("../words/" + code + ".js", document.currentScript.src).href;
  document.head.append(hint);
})();
