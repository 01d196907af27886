// The report's page: a table, charts and galleries over the JSON in #data. Libraries lie in #libraries.
const data = JSON.parse(document.getElementById("data").textContent);
const libraries = JSON.parse(document.getElementById("libraries").textContent);
const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8172b3", "#937860", "#4c9a2a", "#c44e52"];
const DASHES = ["solid", "dash", "dot", "dashdot"];
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "x", "cross", "star", "pentagon"];
const COSTS = { bytes_per_item: "bytes an item", image_passes: "image passes of the training", train_seconds: "seconds of training",
  search_ms_per_query: "ms to rank the gallery for a query, one thread", encode_images_per_second: "images encoded a second", parameters_trained: "trained parameters", peak_memory_mb: "peak memory, MB" };
const KEPT = new Set(["rank", "method", "bits", "map", "notes"]); // columns even where all rows agree
const $ = (name) => document.getElementById(name);
const rows = data.rows, byId = Object.fromEntries(rows.map((row) => [row.id, row]));
const labels = [...new Set(rows.map((row) => row.label))];
const color = (label) => COLORS[labels.indexOf(label) % COLORS.length];
const dash = (label) => DASHES[Math.floor(labels.indexOf(label) / COLORS.length) % DASHES.length];
const symbol = (label) => SYMBOLS[labels.indexOf(label) % SYMBOLS.length];
const className = (row, label) => (data.names[row.fingerprint] || [])[label] ?? `class ${label}`;
const number = (value, digits = 4) => typeof value === "string" ? value : value === null || value === undefined ? "" : Number.isInteger(value) ? String(value) : value.toFixed(digits);

function unpacked(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")));
}

async function blob(base64, type) {
  return URL.createObjectURL(new Blob([await unpacked(base64).arrayBuffer()], { type }));
}

function loadScript(url) {
  return new Promise((done, failed) => {
    const script = document.createElement("script");
    Object.assign(script, { src: url, onload: done, onerror: failed });
    document.head.append(script);
  });
}

function element(tag, options = {}, ...children) {
  const made = Object.assign(document.createElement(tag), options);
  made.append(...children);
  return made;
}

function options(select, values, texts = values) {
  select.replaceChildren(...values.map((value, i) => element("option", { value, textContent: texts[i] })));
}

// ---- the table -----------------------------------------------------------------------------------------------------
function leaderboard(DataTable) {
  const hidden = new Set(["id", "view", "label", "fingerprint", "run"]);
  const told = Object.keys(rows[0] || {}).filter((name) => !hidden.has(name) && rows.some((row) => row[name] !== null && row[name] !== ""));
  const agreed = rows.length > 1 ? told.filter((name) => !KEPT.has(name) && rows.every((row) => row[name] === rows[0][name])) : [];
  const names = told.filter((name) => !agreed.includes(name));
  $("shared").textContent = agreed.length ? `All rows: ${agreed.map((name) => `${name.replaceAll("_", " ")} ${number(rows[0][name])}`).join(", ")}.` : "";
  const isNumber = (name) => rows.every((row) => row[name] === null || typeof row[name] === "number");
  const columns = names.map((name) => ({
    title: name.replaceAll("_", " "), data: name, defaultContent: "", className: isNumber(name) ? "number" : "",
    render: (value, kind) => kind !== "display" ? value ?? (isNumber(name) ? -Infinity : "")
      : typeof value === "number" ? number(value) : escaped(value) }));
  new DataTable($("table"), { data: rows, columns, order: [], pageLength: 25, lengthMenu: [10, 25, 50, 100, 200],
    language: { search: "Filter:", emptyTable: "no finished run" }, layout: { topStart: "pageLength", topEnd: "search",
    bottomStart: "info", bottomEnd: "paging" }, autoWidth: false });
}

function escaped(value) {
  const text = document.createElement("span");
  text.textContent = value ?? "";
  return text.innerHTML;
}

// ---- charts --------------------------------------------------------------------------------------------------------
function layout(x, y, more = {}) {
  const style = getComputedStyle(document.documentElement);
  const [fore, line] = ["--fore", "--line"].map((name) => style.getPropertyValue(name).trim());
  const axis = { gridcolor: line, linecolor: line, zerolinecolor: line, automargin: true };
  return { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: fore, size: 13 }, margin: { t: 16, r: 12, b: 96, l: 56 },
    legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom" }, hovermode: "closest", ...more,
    xaxis: { ...axis, title: { text: x }, ...more.xaxis }, yaxis: { ...axis, title: { text: y }, ...more.yaxis } };
}

function draw(name, traces, x, y, more) {
  $(name).hidden = traces.length === 0;
  if (traces.length) Plotly.react(name, traces, layout(x, y, more), { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"] });
}

const shown = () => rows.filter((row) => row.view === $("view").value);
const atLength = () => shown().filter((row) => String(row.bits) === $("length").value);

function line(row, x, y) {
  return { x, y, name: row.label, mode: "lines", line: { color: color(row.label), dash: dash(row.label), width: 2 }, hovertemplate: "%{x:.3g}: %{y:.4f}" };
}

function chartBits() {
  const traces = [...new Set(shown().map((row) => row.label))].map((label) => {
    const own = shown().filter((row) => row.label === label && row.map !== null).sort((a, b) => a.bits - b.bits);
    return { x: own.map((row) => row.bits), y: own.map((row) => row.map), name: label, mode: "lines+markers",
      error_y: { array: own.map((row) => row.map_std ?? 0), visible: own.some((row) => row.map_std) },
      line: { color: color(label), dash: dash(label) }, marker: { symbol: symbol(label), size: 8 }, hovertemplate: "%{x} bits: %{y:.4f}" };
  });
  const lengths = [...new Set(shown().map((row) => row.bits))];
  draw("chart-bits", traces, "bits", "mAP", { xaxis: { tickvals: lengths } });
}

function chartCurves() {
  const known = atLength().filter((row) => data.curves[row.id]);
  const of = (x, y) => known.filter((row) => data.curves[row.id][x]).map((row) => line(row, data.curves[row.id][x], data.curves[row.id][y]));
  draw("chart-pr", of("recall", "precision"), "recall", "precision", { yaxis: { range: [0, 1.02] } });
  draw("chart-n", of("n", "precision"), "first N items", "precision", { xaxis: { type: "log" }, yaxis: { range: [0, 1.02] } });
  draw("chart-radius", of("radius", "within"), "Hamming radius", "precision within", { yaxis: { range: [0, 1.02] } });
}

function chartBudgets() {
  const known = rows.filter((row) => data.budgets[row.id] && String(row.bits) === $("length").value && row.gallery_codes === "network");
  const of = (x) => known.map((row) => ({ ...line(row, data.budgets[row.id].map((point) => point[x]), data.budgets[row.id].map((point) => point.val_map)), mode: "lines+markers" }));
  $("budgets").hidden = known.length === 0;
  draw("chart-passes", of("image_passes"), "image passes", "validation mAP");
  draw("chart-seconds", of("seconds"), "seconds of training", "validation mAP");
}

function chartCost() {
  const cost = $("cost-of").value, points = shown().filter((row) => row[cost] !== null && row.map !== null);
  const traces = [...new Set(points.map((row) => row.label))].map((label) => {
    const own = points.filter((row) => row.label === label);
    return { x: own.map((row) => row[cost]), y: own.map((row) => row.map), text: own.map((row) => `${label}, ${row.bits} bits`), name: label,
      mode: "markers", marker: { color: color(label), symbol: symbol(label), size: 10 }, hovertemplate: "%{text}<br>%{x}: %{y:.4f}<extra></extra>" };
  });
  const better = cost === "encode_images_per_second" ? -1 : 1;
  const front = [...points].sort((a, b) => better * (a[cost] - b[cost]) || b.map - a.map)
    .reduce((kept, row) => (!kept.length || row.map > kept.at(-1).map ? [...kept, row] : kept), []);
  if (front.length > 1) traces.push({ x: front.map((row) => row[cost]), y: front.map((row) => row.map), name: "best for its cost", mode: "lines",
    line: { color: "gray", dash: "dot", shape: better > 0 ? "hv" : "vh" }, hoverinfo: "skip" });
  draw("chart-cost", traces, COSTS[cost], "mAP");
}

function chartClasses() {
  const row = byId[$("class-row").value], found = row && data.classes[row.id];
  $("chart-classes").hidden = !found;
  if (!found) { $("confused").textContent = "No codes are stored for these rows."; return; }
  const entries = Object.entries(found.map).sort((a, b) => a[1] - b[1]);
  const names = entries.map(([label]) => className(row, label));
  draw("chart-classes", [{ x: entries.map((_, i) => i + 1), y: entries.map((entry) => entry[1]), text: names, type: "bar",
    marker: { color: color(row.label) }, hovertemplate: "%{text}: %{y:.4f}<extra></extra>", textposition: "none" }], "class, worst first", "mAP");
  const head = element("tr", {}, ...["query", "found", "share of first ten"].map((text) => element("th", { textContent: text, scope: "col" })));
  const body = found.confused.map((pair) => element("tr", {}, element("td", { textContent: className(row, pair.query) }),
    element("td", { textContent: className(row, pair.found) }), element("td", { className: "number", textContent: number(pair.share, 3) })));
  $("confused").replaceChildren(found.confused.length ? element("table", {}, head, ...body) : "No two classes are confused.");
}

function healthTable() {
  const columns = ["balance", "correlation", "used", "distinct", "items", "shared"];
  const head = element("tr", {}, ...["row", ...columns].map((text) => element("th", { textContent: text, scope: "col" })));
  const body = atLength().filter((row) => data.health[row.id]).map((row) => element("tr", {}, element("th", { textContent: row.label, scope: "row" }),
    ...columns.map((name) => element("td", { className: "number", textContent: number(data.health[row.id][name], 3) }))));
  $("health-table").replaceChildren(element("thead", {}, head), element("tbody", {}, ...body));
}

// ---- galleries -----------------------------------------------------------------------------------------------------
function picture(gallery, key, alt) {
  const url = key && data.images[gallery.set + key];
  return url ? element("img", { src: url, alt, width: 96, height: 96 }) : element("div", { className: "none", title: alt });
}

function galleries() {
  const made = data.galleries.map((gallery) => {
    const of = { fingerprint: gallery.fingerprint };
    const queries = gallery.queries.map((query) => {
      const name = className(of, query.label);
      const asked = element("figure", { className: "asked" }, picture(gallery, query.image, `query: ${name}`),
        element("figcaption", { textContent: `${query.kind}: ${name}` }));
      const found = Object.entries(query.found).map(([id, items]) => {
        const list = element("div", { className: "found", tabIndex: 0 }, ...items.map((item) => {
          const label = className(of, item.label), mark = item.right ? "✓" : "✗";
          return element("figure", { className: item.right ? "right" : "wrong" }, picture(gallery, item.image, `${label}, ${item.right ? "same class" : "another class"}`),
            element("figcaption", { textContent: `${mark} ${label}`, title: label }));
        }));
        list.setAttribute("role", "group");
        list.setAttribute("aria-label", `${byId[id].label}: first ten items`);
        return element("div", {}, element("p", { className: "row-name", textContent: byId[id].label }), list);
      });
      return element("div", { className: "query" }, asked, ...found);
    });
    return element("section", {}, element("h3", { textContent: gallery.title }), ...queries);
  });
  $("gallery-list").replaceChildren(...(made.length ? made : [element("p", { textContent: "The images of these runs are not on this machine." })]));
}

// ---- what is chosen ------------------------------------------------------------------------------------------------
function chooseView() {
  const lengths = [...new Set(shown().map((row) => row.bits))].sort((a, b) => a - b);
  const kept = lengths.map(String).includes($("length").value) ? $("length").value : String(lengths.includes(32) ? 32 : lengths.at(-1));
  options($("length"), lengths.map(String));
  $("length").value = kept;
  const costs = Object.keys(COSTS).filter((name) => shown().some((row) => row[name] !== null));
  const cost = costs.includes($("cost-of").value) ? $("cost-of").value : costs[0];
  options($("cost-of"), costs, costs.map((name) => COSTS[name]));
  $("cost-of").value = cost;
  chartBits();
  chartCost();
  chooseLength();
}

function chooseLength() {
  const own = atLength();
  options($("class-row"), own.map((row) => row.id), own.map((row) => row.label));
  chartCurves();
  chartBudgets();
  chartClasses();
  healthTable();
}

function theme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  document.documentElement.classList.toggle("dark", dark);
  $("theme").setAttribute("aria-pressed", String(dark));
  if (window.Plotly && rows.length) chooseView();
}

document.head.prepend(element("style", { textContent: await unpacked(libraries.style).text() }));
theme(matchMedia("(prefers-color-scheme: dark)").matches);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => theme(event.matches));
$("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme !== "dark"));
const [tables, charts] = await Promise.all([libraries.tables, libraries.plotly].map((packed) => blob(packed, "text/javascript")));
const [{ default: DataTable }] = await Promise.all([import(tables), loadScript(charts)]);
const views = [...new Set(rows.map((row) => row.view))];
options($("view"), views);
$("view").addEventListener("change", chooseView);
$("length").addEventListener("change", chooseLength);
$("cost-of").addEventListener("change", chartCost);
$("class-row").addEventListener("change", chartClasses);
leaderboard(DataTable);
if (rows.length) chooseView();
galleries();
document.documentElement.dataset.ready = "true";
