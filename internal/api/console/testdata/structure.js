// Returns what a page shows as lines of text: each element that matters with its role, its name, its
// text and its place. Nothing depends on the width of text: no length is in it, and what may wrap is
// only said to flow.
(() => {
  const matters = "header, nav, main, footer, section, form, fieldset, legend, table, caption, tr, th, td, ol, ul, li, dl, dt, dd, " +
    "h1, h2, h3, p, a, button, input, select, textarea, label, details, summary, progress, pre, figure, figcaption, svg[role=img], [role=group]";
  const changing = [
    [/\blnk_[a-z0-9]+/g, "lnk_…"], [/\btoken:[a-z2-7]{10}\b/g, "token:…"], [/^[a-z2-7]{10}\b/, "(id)"],
    [/\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \d{4}-\d\d-\d\d \d\d:\d\d \S+/g, "(local time)"],
    [/\b(\d+ h \d\d min|\d+ min \d\d s|\d+(\.\d+)? s|\d+ ms)(?![a-z])/g, "(duration)"], [/\b127\.0\.0\.1:\d+\b/g, "(address)"], [/\bstr-[a-z0-9]+/g, "(id)"],
    [/\d+(\.\d+)? (second|minute|hour|day)s? ago/g, "(time)"],
  ];
  const box = (e) => e.getBoundingClientRect();
  const style = (e) => getComputedStyle(e);
  const inline = (e) => style(e).display.startsWith("inline");
  const unseen = (e) => e.closest(".unseen, .skip") !== null;
  const shown = (e) => e.checkVisibility();

  function text(e) {
    let out = "";
    for (const n of e.childNodes) {
      if (n.nodeType === Node.TEXT_NODE) out += n.data;
      else if (n.nodeType !== Node.ELEMENT_NODE || n.matches("svg") || !shown(n)) continue;
      else if (n.matches("time")) out += "(time)";
      else if (n.matches("br") || n.matches(matters)) out += " ";
      else out += text(n);
    }
    return out;
  }
  function clean(s) {
    s = s.replace(/\s+/g, " ").trim();
    for (const [from, to] of changing) s = s.replace(from, to);
    return s.length > 200 ? s.slice(0, 200) + "…" : s;
  }
  // above returns the nearest element above that matters and is shown.
  const above = (e) => e.parentElement && e.parentElement.closest(matters);
  // scrolls says that an element is in a part that can be scrolled sideways.
  function scrolls(e) {
    for (let at = e.parentElement; at; at = at.parentElement) if (["auto", "scroll"].includes(style(at).overflowX)) return true;
    return false;
  }
  function place(e, up, before) {
    if (unseen(e)) return " unseen";
    let words = "";
    if (before && !unseen(before)) {
      const r = box(e), q = box(before);
      const beside = r.left >= q.right - 1 || r.right <= q.left + 1, below = r.top >= q.bottom - 1;
      let both = e.parentElement;
      while (!both.contains(before)) both = both.parentElement;
      const wraps = inline(e) || inline(before) || style(both).flexWrap === "wrap";
      if (wraps) words += " flows";
      else if (!below && !beside) words += " overlaps";
      else if (!below) words += " beside";
    }
    if (up && !inline(e) && !scrolls(e)) {
      const r = box(e), q = box(up);
      if (r.left < q.left - 1 || r.right > q.right + 1) words += " outside";
    }
    return words;
  }

  const lines = [], depth = new Map(), last = new Map();
  for (const e of document.body.querySelectorAll(matters)) {
    if (!shown(e)) continue;
    const up = above(e), d = up ? depth.get(up) + 1 : 0;
    depth.set(e, d);
    let line = "  ".repeat(d) + e.tagName.toLowerCase();
    for (const c of ["button", "main", "danger", "note", "warn", "done", "empty"]) if (e.classList.contains(c)) line += "." + c;
    if (e.getAttribute("role")) line += "[" + e.getAttribute("role") + "]";
    line += place(e, up, last.get(up));
    last.set(up, e);
    const label = e.getAttribute("aria-label") || e.labels && e.labels.length > 0 && e.labels[0].textContent;
    if (label) line += " “" + clean(label) + "”";
    if (e.getAttribute("aria-current")) line += " current";
    if (e.disabled) line += " disabled";
    if (e.matches("input[type=checkbox]")) line += e.checked ? " checked" : " not checked";
    else if (e.matches("select")) line += " = " + e.selectedOptions[0].textContent;
    else if (e.matches("input, textarea")) line += " = " + clean(e.value);
    else if (e.matches("progress")) line += " = " + (e.hasAttribute("value") ? e.value : "unknown");
    else if (clean(text(e))) line += ": " + clean(text(e));
    lines.push(line);
  }
  return { lines, wide: document.documentElement.scrollWidth - innerWidth };
})()
