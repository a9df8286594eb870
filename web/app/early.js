// Runs before anything is drawn, so that the page does not flash: the chosen
// theme and language are put on <html>, and the words are asked for early. It
// also speaks up where the page cannot begin at all.
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

  // The one text outside the dictionaries: it is for when those do not come.
  function made(name, kind, text) {
    var e = document.createElement(name);
    e.className = kind;
    e.textContent = text;
    return e;
  }
  function lost(e) {
    var app = document.getElementById("app");
    if (!app || app.firstChild || e.target instanceof HTMLLinkElement) return;
    var zh = code === "zh";
    var main = made("main", "plain", "");
    var blank = made("div", "blank s-failed", "");
    var again = made("a", "btn", zh ? "重试" : "Try again");
    blank.setAttribute("role", "alert");
    again.href = location.href;
    again.addEventListener("click", function (click) {
      click.preventDefault();
      location.reload();
    });
    blank.append(made("h1", "", zh ? "页面加载失败" : "The page could not be loaded"), made("p", "", zh ? "服务器没有响应。" : "The server does not answer."), again);
    main.append(blank);
    app.append(main);
    root.dataset.ready = "true";
  }
  addEventListener("error", lost, true);
  addEventListener("unhandledrejection", lost);
})();
