// The pages work without this script. It shows times in the viewer's zone, numbers as the viewer
// writes them, progress live, and renews the parts of a page when something changed.
"use strict";
(() => {
  const zone = new Intl.DateTimeFormat().resolvedOptions().timeZone;
  const number = new Intl.NumberFormat(), tenths = new Intl.NumberFormat(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
  const clock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

  function prepare(root) {
    for (const t of root.querySelectorAll("time[data-local]")) {
      t.textContent = clock.format(new Date(t.dateTime));
    }
    for (const d of root.querySelectorAll("data[data-count]")) d.textContent = number.format(d.value);
    for (const d of root.querySelectorAll("data[data-size]")) {
      let n = Number(d.value), i = 0;
      for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
      d.textContent = (i > 0 && n < 9.95 ? tenths : number).format(i > 0 && n < 9.95 ? n : Math.round(n)) + " " + units[i];
    }
    const all = root.querySelector("input[data-all]");
    if (all) {
      all.hidden = false;
      all.addEventListener("change", () => {
        for (const one of document.querySelectorAll("input[name=of]")) one.checked = all.checked;
      });
    }
  }
  prepare(document);
  // The server puts days into the viewer's zone, which only the browser knows.
  if (zone && zone !== document.body.dataset.zone) {
    document.cookie = `pgcourier-zone=${zone}; path=/console; max-age=31536000; samesite=lax`;
    // Once: the server may not know the zone, and the browser may keep no cookies.
    if (document.querySelector("[data-days]") && performance.getEntriesByType("navigation")[0].type !== "reload") location.reload();
  }
  const tab = document.querySelector(".tabs [aria-current]"); // in a narrow window the tabs scroll sideways
  if (tab) tab.scrollIntoView({ block: "nearest", inline: "center" });
  const foot = document.getElementById("zone");
  if (foot && zone && zone !== "UTC") foot.textContent = "times are in " + zone + ", and in UTC where the pointer rests on them";

  const address = document.body.dataset.live;
  if (!address) return;
  const offline = document.getElementById("offline");

  // busy says that the part is being used: a row is selected, or the focus or a selection is in it.
  function busy(part) {
    return part.contains(document.activeElement) || part.querySelector("input:checked, details[open]") !== null ||
      (String(getSelection()) !== "" && part.contains(getSelection().anchorNode));
  }

  let due = 0, running = false, again = false;
  async function renew() {
    if (running) { again = true; return; }
    running = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, credentials: "same-origin" });
      if (answer.redirected && new URL(answer.url).pathname === "/console/login") { location.assign(answer.url); return; }
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("[data-part]")) {
        const next = fresh.getElementById(part.id);
        if (!next || busy(part)) continue;
        prepare(next);
        if (next.innerHTML !== part.innerHTML) part.replaceWith(document.adoptNode(next));
      }
    } catch {
      offline.hidden = false;
    } finally {
      running = false;
      if (again) { again = false; soon(); }
    }
  }
  function soon() {
    if (due) return;
    due = setTimeout(() => { due = 0; if (!document.hidden) renew(); }, 1000);
  }

  function connect() {
    const source = new EventSource(address);
    source.addEventListener("open", () => { if (!offline.hidden) soon(); offline.hidden = true; });
    source.addEventListener("error", () => {
      offline.hidden = false;
      soon();
      // After a refusal, such as a 503 while the database is away, the browser itself does not try again.
      if (source.readyState === EventSource.CLOSED) setTimeout(connect, 5000);
    });
    source.addEventListener("changed", soon);
    source.addEventListener("progress", (event) => {
      const of = JSON.parse(event.data), name = CSS.escape(of.of);
      for (const bar of document.querySelectorAll(`progress[data-of="${name}"]`)) bar.value = of.percent;
      for (const text of document.querySelectorAll(`[data-percent="${name}"]`)) text.textContent = of.percent + " %";
      for (const text of document.querySelectorAll(`[data-stage="${name}"]`)) text.textContent = of.stage;
    });
  }
  connect();
  document.addEventListener("visibilitychange", () => { if (!document.hidden) soon(); });
  setInterval(soon, 1000 * (document.body.dataset.renew || 60));
})();
