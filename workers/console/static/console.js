"use strict";
// Shows how old the page is, times in the reader's zone, and reads the content again when the
// broker was looked at. Without it every page works and is refreshed by the reader.
(() => {
  const content = document.getElementById("content");
  const asOf = document.getElementById("as-of");
  const age = document.getElementById("age");
  const stale = document.getElementById("stale");
  const zone = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "short", timeStyle: "medium" });
  let shown = null, reading = false, last = Date.now();

  const times = (within) => {
    for (const one of within.querySelectorAll("time[datetime]")) {
      const at = new Date(one.dateTime);
      if (!Number.isNaN(at.getTime())) {
        one.title = one.dateTime;
        one.textContent = zone.format(at);
      }
    }
  };
  const grow = () => {
    const seconds = Math.max(0, Math.round((Date.now() - new Date(asOf.dateTime)) / 1000));
    age.textContent = "(" + (seconds < 120 ? seconds + " s" : Math.floor(seconds / 60) + " min") + " " + age.dataset.ago + ")";
  };
  const put = (text) => {
    if (text === shown) return true;
    const parsed = new DOMParser().parseFromString(text, "text/html").body;
    times(parsed);
    const focused = document.activeElement && content.contains(document.activeElement) ? document.activeElement : null;
    if (focused && /^(INPUT|SELECT|TEXTAREA)$/.test(focused.tagName)) return false; // What is being typed stays.
    const open = new Set([...content.querySelectorAll("details[open][id]")].map((one) => one.id));
    const key = focused && (focused.id ? "#" + CSS.escape(focused.id) : focused.href ? 'a[href="' + CSS.escape(focused.getAttribute("href")) + '"]' : null);
    const checked = new Set([...content.querySelectorAll("input:checked[id]")].map((one) => one.id));
    shown = text;
    content.replaceChildren(...parsed.childNodes);
    for (const one of content.querySelectorAll("details[id]")) one.open = one.open || open.has(one.id);
    for (const one of content.querySelectorAll("input[id]")) if (checked.has(one.id)) one.checked = true;
    if (key) content.querySelector(key)?.focus();
    return true;
  };
  const read = async () => {
    if (reading || document.hidden) return;
    reading = true;
    last = Date.now();
    try {
      const answer = await fetch(location.href, { headers: { "X-Fragment": "1" }, redirect: "error" });
      if (!answer.ok) throw new Error(String(answer.status));
      if (put(await answer.text())) {
        asOf.dateTime = answer.headers.get("X-As-Of") || asOf.dateTime;
        stale.hidden = true;
      }
    } catch {
      stale.hidden = false; // What was shown stays, with its age.
    } finally {
      reading = false;
      times(asOf.parentElement);
      grow();
    }
  };

  times(document);
  grow();
  setInterval(grow, 1000);
  const every = Number(content.dataset.every) * 1000;
  if (every > 0) {
    let source = null;
    const listen = () => { // A browser opens six connections to a host: a hidden page holds none.
      if (document.hidden) {
        source?.close();
        source = null;
        return;
      }
      if (source) return;
      source = new EventSource("/live");
      source.addEventListener("tick", () => { if (Date.now() - last >= every - 500) read(); });
      source.addEventListener("error", () => { stale.hidden = false; });
    };
    listen();
    document.addEventListener("visibilitychange", () => { listen(); if (!document.hidden) read(); });
  }
})();
