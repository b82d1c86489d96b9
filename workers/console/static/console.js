"use strict";
// Shows how old the page is, times in the reader's zone, and reads the content again when the
// broker was looked at. Without it every page works and is refreshed by the reader.
(() => {
  const content = document.getElementById("content");
  const asOf = document.getElementById("as-of");
  const age = document.getElementById("age");
  const stale = document.getElementById("stale");
  const ended = document.getElementById("ended");
  const alarm = document.getElementById("alarm");
  const quiet = 60000; // How long what is typed or selected may keep the page from being refreshed before it says so.
  const zone = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "short", timeStyle: "medium" });
  let shown = null, announced = "", reading = false, last = Date.now(), every = Number(content.dataset.every) * 1000;

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
  // What an element is by: the same in the content before and after a refresh.
  const mark = (one) => [one.tagName, one.id, one.getAttribute("href"), one.getAttribute("aria-label"), one.name, one.form?.getAttribute("action"),
    one.closest("details")?.id].join("|");
  // A way back to an element, which finds it in other content: by its mark, and by its place among those with that mark.
  const way = (one) => {
    const by = mark(one), alike = () => [...content.querySelectorAll(one.tagName)].filter((other) => mark(other) === by);
    const place = alike().indexOf(one);
    return () => alike()[place];
  };
  const busy = () => { // What is typed or selected stays.
    const selection = getSelection(), focused = document.activeElement;
    if (selection && !selection.isCollapsed && selection.getRangeAt(0).intersectsNode(content)) return true;
    return content.contains(focused) && /^(INPUT|SELECT|TEXTAREA)$/.test(focused.tagName);
  };
  const alarms = (within) => [...within.querySelectorAll("[role=alert]")];
  const said = (all) => all.map((one) => one.textContent.trim()).join(" ");
  // A new alert in replaced content would be read out at each refresh, so it is in an element that stays.
  const announce = (all) => {
    for (const one of all) one.removeAttribute("role");
    const text = said(all), steady = (of) => of.replace(/[0-9]+/g, "");
    if (steady(text) !== steady(announced)) alarm.textContent = text;
    announced = text;
  };
  const put = (text) => {
    if (text === shown) return true;
    if (busy()) return false;
    const parsed = new DOMParser().parseFromString(text, "text/html").body;
    times(parsed);
    announce(alarms(parsed));
    const focused = content !== document.activeElement && content.contains(document.activeElement) ? way(document.activeElement) : null;
    const open = new Map([...content.querySelectorAll("details[id]")].map((one) => [one.id, one.open]));
    const scrolled = [...content.querySelectorAll(".wide")].filter((one) => one.scrollLeft > 0).map((one) => [way(one), one.scrollLeft]);
    shown = text;
    content.replaceChildren(...parsed.childNodes);
    for (const one of content.querySelectorAll("details[id]")) if (open.has(one.id)) one.open = open.get(one.id);
    for (const [again, left] of scrolled) { const one = again(); if (one) one.scrollLeft = left; }
    if (focused) focused()?.focus({ preventScroll: true });
    return true;
  };
  const read = async () => {
    if (reading || document.hidden) return;
    reading = true;
    last = Date.now();
    try {
      const answer = await fetch(location.href, { headers: { "X-Fragment": "1" }, redirect: "error" });
      if (ended) ended.hidden = answer.status !== 401;
      if (!answer.ok) throw new Error(String(answer.status));
      every = Number(answer.headers.get("X-Every")) * 1000;
      if (put(await answer.text())) {
        asOf.dateTime = answer.headers.get("X-As-Of") || asOf.dateTime;
        stale.hidden = true;
      } else if (Date.now() - new Date(asOf.dateTime) > quiet) stale.hidden = false;
    } catch {
      stale.hidden = ended !== null && !ended.hidden; // What was shown stays, with its age.
    } finally {
      reading = false;
      times(asOf.parentElement);
      grow();
    }
  };

  times(document);
  announced = said(alarms(content));
  if (ended) ended.querySelector("a").search = "?next=" + encodeURIComponent(location.pathname + location.search);
  grow();
  setInterval(grow, 1000);
  if (every > 0) {
    const soonest = 2000, latest = 60000; // Between two attempts to open the stream.
    let source = null, waits = 0, delay = soonest;
    const close = () => {
      source?.close();
      source = null;
      clearTimeout(waits);
    };
    const listen = () => { // A browser opens six connections to a host: a hidden page holds none.
      if (document.hidden || source) return;
      const opened = source = new EventSource("/live");
      opened.addEventListener("tick", () => {
        delay = soonest;
        if (every > 0 && Date.now() - last >= every - 500) read();
      });
      opened.addEventListener("error", () => {
        if (opened !== source) return;
        if (ended === null || ended.hidden) stale.hidden = false;
        if (opened.readyState !== EventSource.CLOSED) return; // The browser opens it again by itself, but not after an answer other than 200.
        close();
        waits = setTimeout(() => { read(); listen(); }, delay * (0.75 + Math.random() / 2));
        delay = Math.min(2 * delay, latest);
      });
    };
    listen();
    document.addEventListener("visibilitychange", () => {
      close();
      listen();
      if (!document.hidden) read();
    });
  }
})();
