// Enhances a report; without it everything is there all the same. No library, no request, no eval.
(function () {
  "use strict";
  var doc = document, root = doc.documentElement;
  root.classList.add("js");
  var $ = function (selector, at) { return (at || doc).querySelector(selector); };
  var $$ = function (selector, at) { return Array.from((at || doc).querySelectorAll(selector)); };

  // Theme: follows the system until switched; the choice is kept where the browser lets us.
  function stored(value) {
    try {
      if (value === undefined) return localStorage.getItem("cnnprof-theme");
      localStorage.setItem("cnnprof-theme", value);
    } catch (error) { /* storage may be off */ }
    return null;
  }
  var saved = stored();
  if (saved === "light" || saved === "dark") root.dataset.theme = saved;
  function switchTheme() {
    var dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    stored(root.dataset.theme);
  }

  // One selection for all charts and tables; it lives in the URL's hash, so that a link leads to it.
  function rowOf(key) { return key ? doc.getElementById(key) : null; }
  function select(key, scroll) {
    $$(".sel").forEach(function (mark) { mark.classList.remove("sel"); });
    var row = rowOf(key), known = row && row.closest("#table");
    if (!known) { showDetail(null); return; }
    $$('[data-k="' + CSS.escape(key) + '"]').forEach(function (mark) { mark.classList.add("sel"); });
    row.classList.add("sel");
    reveal(row);
    showDetail(row);
    if (scroll) row.scrollIntoView({ block: "center" });
  }
  function fromHash(scroll) { select(decode(location.hash.slice(1)), scroll); }
  function decode(text) { try { return decodeURIComponent(text); } catch (error) { return ""; } }
  function choose(key) {
    // replaceState keeps the page where it is: a click in a chart must not scroll the chart away.
    history.replaceState(null, "", "#" + key);
    select(key, false);
  }

  var detail = $("#detail");
  function showDetail(row) {
    if (!detail) return;
    detail.replaceChildren();
    detail.hidden = !row;
    if (!row) return;
    var close = doc.createElement("button");
    close.type = "button";
    close.textContent = "×";
    close.setAttribute("aria-label", "Close");
    close.addEventListener("click", clear);
    var title = doc.createElement("h2"), list = doc.createElement("dl");
    title.textContent = label(row.cells[0]);
    $$("#table thead th").forEach(function (head, i) {
      var cell = row.cells[i];
      if (!i || !cell || !cell.textContent.trim()) return;
      var dt = doc.createElement("dt"), dd = doc.createElement("dd"), formula = $("i", cell);
      dt.textContent = head.textContent;
      dd.textContent = formula ? cell.textContent.replace(formula.textContent, "") : cell.textContent;
      list.append(dt, dd);
      if (formula) {
        var code = doc.createElement("dd");
        code.append(doc.createElement("code"));
        code.firstChild.textContent = formula.textContent;
        list.append(doc.createElement("dt"), code);
      }
    });
    detail.append(close, title, list);
  }
  function label(cell) {
    var link = $("a", cell);
    return link ? link.title || link.textContent : cell.textContent;
  }
  function clear() {
    history.replaceState(null, "", location.pathname + location.search);
    select("", false);
  }

  // Tooltips over marks: their own aria-label.
  var tip = $("#tip");
  doc.addEventListener("pointermove", function (event) {
    if (!tip || !event.target.closest) return;
    var mark = event.target.closest("svg [aria-label]"), owner = mark && mark.ownerSVGElement;
    if (!owner) { tip.hidden = true; return; }
    tip.textContent = mark.getAttribute("aria-label");
    tip.hidden = false;
    var box = tip.getBoundingClientRect();
    // Setting style through the DOM is no inline style: the policy allows it.
    tip.style.left = Math.max(6, Math.min(event.clientX + 14, innerWidth - box.width - 8)) + "px";
    tip.style.top = (event.clientY + 20 + box.height > innerHeight ? event.clientY - box.height - 12 : event.clientY + 18) + "px";
  });
  doc.addEventListener("scroll", function () { if (tip) tip.hidden = true; }, true);
  doc.addEventListener("click", function (event) {
    var mark = event.target.closest && event.target.closest("[data-k]");
    if (!mark || event.target.closest("a, button, input")) return;
    if (mark.dataset.k.charAt(0) === "#") location.hash = mark.dataset.k;
    else if (rowOf(mark.dataset.k)) choose(mark.dataset.k);
  });

  // The layer table: sort among siblings, fold modules, filter by name or kind.
  var table = $("#table"), body = table && table.tBodies[0], rows = body ? Array.from(body.rows) : [];
  var folded = new Set(), wanted = "";
  function depth(row) { return +(row.dataset.d || 0); }
  function isModule(row) { return row.classList.contains("m"); }
  function parents(list) {
    var stack = [], found = new Map();
    list.forEach(function (row) {
      var d = depth(row);
      while (stack.length && depth(stack[stack.length - 1]) >= d) stack.pop();
      found.set(row, stack[stack.length - 1] || null);
      stack.push(row);
    });
    return found;
  }
  var parentOf = parents(rows);
  function refresh() {
    var kept = new Set();
    if (wanted) {
      rows.forEach(function (row) {
        if (row.textContent.toLowerCase().indexOf(wanted) < 0) return;
        for (var at = row; at; at = parentOf.get(at)) kept.add(at);
      });
    }
    var seen = 0;
    rows.forEach(function (row) {
      var hidden = false;
      if (wanted) hidden = !kept.has(row);
      else for (var at = parentOf.get(row); at && !hidden; at = parentOf.get(at)) hidden = folded.has(at);
      row.hidden = hidden;
      if (!hidden) seen += 1;
    });
    var shown = $("#shown");
    if (shown) shown.textContent = shown.dataset.text.replace("{shown}", seen).replace("{all}", rows.length);
  }
  function reveal(row) {
    if (!row.hidden) return;
    for (var at = parentOf.get(row); at; at = parentOf.get(at)) setFold(at, false);
    if (row.hidden && wanted) { wanted = ""; $("#filter").value = ""; }
    refresh();
  }
  function setFold(row, on) {
    if (on) folded.add(row); else folded.delete(row);
    var button = $(".fold", row);
    if (button) { button.setAttribute("aria-expanded", String(!on)); button.textContent = on ? "▸" : "▾"; }
  }
  function foldAll(on) { rows.filter(isModule).forEach(function (row) { setFold(row, on); }); }

  var SCALE = { k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, KiB: 1024, MiB: 1048576, GiB: 1073741824, TiB: 1099511627776, ns: 1e-9, "µs": 1e-6, ms: 1e-3 };
  function value(row, column, kind) {
    var cell = row.cells[column];
    if (!cell) return kind === "text" ? "" : -1;
    if (kind === "text") return cell.textContent.trim();
    var found = /([\d.,]+)\s*([A-Za-zµ]*)/.exec(cell.firstChild ? ($(".q", cell) || cell).firstChild.textContent : "");
    return found ? parseFloat(found[1].replace(/,/g, "")) * (SCALE[found[2]] || 1) : -1;
  }
  function sortBy(column, kind, order) {
    var children = new Map();
    rows.forEach(function (row) {
      var parent = parentOf.get(row);
      if (!children.has(parent)) children.set(parent, []);
      children.get(parent).push(row);
    });
    var sorted = [];
    function place(parent) {
      var own = (children.get(parent) || []).slice();
      if (order) {
        var keys = new Map(own.map(function (row) { return [row, value(row, column, kind)]; }));
        own.sort(function (a, b) {
          var x = keys.get(a), y = keys.get(b);
          return order * (kind === "text" ? x.localeCompare(y, "en", { numeric: true }) : x - y);
        });
      }
      own.forEach(function (row) { sorted.push(row); place(row); });
    }
    place(null);
    body.append.apply(body, sorted.length < 20000 ? sorted : []);
    if (sorted.length >= 20000) sorted.forEach(function (row) { body.append(row); });
  }
  if (table) {
    $$("thead button", table).forEach(function (button) {
      button.addEventListener("click", function () {
        var head = button.closest("th"), column = head.cellIndex, kind = head.dataset.sort;
        var first = kind === "text" ? "ascending" : "descending", second = kind === "text" ? "descending" : "ascending";
        var now = head.getAttribute("aria-sort"), next = now === first ? second : now === second ? null : first;
        $$("th[aria-sort]", table).forEach(function (other) { other.removeAttribute("aria-sort"); });
        if (next) head.setAttribute("aria-sort", next);
        sortBy(column, kind, next === "ascending" ? 1 : next === "descending" ? -1 : 0);
      });
    });
    if (table.classList.contains("layers")) {
      rows.filter(isModule).forEach(function (row) {
        var button = doc.createElement("button");
        button.type = "button";
        button.className = "fold";
        button.tabIndex = -1;
        button.setAttribute("aria-label", label(row.cells[0]));
        button.addEventListener("click", function () { setFold(row, !folded.has(row)); refresh(); });
        row.cells[0].prepend(button);
        setFold(row, false);
      });
      var fold = $("#fold");
      if (fold) {
        if (!rows.some(isModule)) fold.hidden = true;
        fold.addEventListener("click", function () {
          var on = fold.getAttribute("aria-pressed") !== "true";
          fold.setAttribute("aria-pressed", String(on));
          foldAll(on);
          refresh();
        });
        if (rows.length > 400) fold.click();
      }
      body.addEventListener("click", function (event) {
        if (event.target.closest("a, button")) return;
        var row = event.target.closest("tr");
        if (row && row.id) choose(row.id);
      });
      // Left and right fold and unfold, up and down walk through the rows.
      body.addEventListener("keydown", function (event) {
        var row = event.target.closest("tr");
        if (!row) return;
        if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
          if (!isModule(row)) return;
          setFold(row, event.key === "ArrowLeft");
          refresh();
        } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
          var step = event.key === "ArrowDown" ? "nextElementSibling" : "previousElementSibling", at = row[step];
          while (at && at.hidden) at = at[step];
          var link = at && $("a", at);
          if (link) link.focus();
        } else return;
        event.preventDefault();
      });
    }
    var filter = $("#filter");
    if (filter) filter.addEventListener("input", function () { wanted = filter.value.trim().toLowerCase(); refresh(); });
    refresh();
  }

  doc.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    var typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) && event.target.type !== "radio";
    if (event.key === "Escape") {
      if (typing && event.target.value) { event.target.value = ""; event.target.dispatchEvent(new Event("input")); }
      else if (typing) event.target.blur();
      else clear();
      return;
    }
    if (typing) return;
    if (event.key === "/" && $("#filter")) {
      $("#filter").focus();
      $("#filter").scrollIntoView({ block: "center" });
      event.preventDefault();
    } else if (event.key === "t") switchTheme();
  });
  if ($("#theme")) $("#theme").addEventListener("click", switchTheme);

  // The section in view is marked in the top bar.
  var links = new Map($$(".top nav a[href^='#']").map(function (link) { return [link.getAttribute("href").slice(1), link]; }));
  if (links.size && "IntersectionObserver" in window) {
    var seen = new IntersectionObserver(function (entries) {
      entries.forEach(function (entry) {
        var link = links.get(entry.target.id);
        if (!link) return;
        if (entry.isIntersecting) {
          links.forEach(function (other) { other.removeAttribute("aria-current"); });
          link.setAttribute("aria-current", "true");
        }
      });
    }, { rootMargin: "-15% 0px -75% 0px" });
    links.forEach(function (_, id) { var section = doc.getElementById(id); if (section) seen.observe(section); });
  }
  // Any radio group of a page stands in the hash's way: only selections go there.
  addEventListener("hashchange", function () { fromHash(false); });
  if (location.hash) fromHash(true);
})();
