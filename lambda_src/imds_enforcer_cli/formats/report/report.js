"use strict";
// The table of all instances: search, filters, sorting and pages. It sets texts only, never markup, so that no tag of
// an instance becomes markup.

const ROWS_A_PAGE = 100;

const data = JSON.parse(document.getElementById("data").textContent);
const severities = Object.keys(data.statuses);
const instances = data.rows.map((row) => Object.fromEntries(data.fields.map((field, at) => [field, row[at]])));
for (const each of instances) {
  const texts = data.fields.map((field) => each[field]).filter((value) => typeof value === "string");
  each.searched = [...texts, data.statuses[each.status]].join(" ").toLowerCase();
}

const table = document.querySelector("#table table");
const body = table.tBodies[0];
const headings = [...table.querySelectorAll("th[data-column]")];
const filters = document.getElementById("filters");
const found = document.getElementById("found");
const pages = document.getElementById("pages");
const thousands = new Intl.NumberFormat("en");
const words = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

let shown = instances;
let page = 0;

// Each column: its sort value, null if it has no value; and the lines of its cell.
const columns = {
  status: [(each) => severities.indexOf(each.status), (each) => [statusOf(each)]],
  instance: [(each) => each.name || each.instance_id, (each) => [
    each.name || code(each.instance_id),
    each.name && code(each.instance_id),
    each.state !== "running" && each.state,
  ]],
  region: [(each) => each.region, (each) => [each.region]],
  why: [(each) => each.reason, (each) => [each.reason, ending(each)]],
  tokens: [(each) => each.http_tokens, (each) => [
    each.http_tokens,
    each.http_endpoint === "disabled" && "endpoint disabled",
    each.options_state !== "applied" && each.options_state,
  ]],
  hops: [(each) => each.hop_limit, (each) => [number(each.hop_limit)]],
  calls: [(each) => each.calls, (each) => [calls(each), each.calls_last && `last ${each.calls_last}`]],
  age: [(each) => each.age_days, (each) => [each.age_days === null ? null : `${number(each.age_days)} d`]],
  source: [
    (each) => each.auto_scaling_group || each.template,
    (each) => [each.auto_scaling_group, template(each), each.image_id && code(each.image_id)],
  ],
};
const numeric = new Set(["hops", "calls", "age"]);

function number(value) {
  return value === null ? null : thousands.format(value);
}

function calls(each) {
  if (!each.calls_asked) return null;
  return each.calls === null ? "no data" : number(each.calls);
}

function ending(each) {
  return [each.expired && "exemption expired", each.until && `until ${each.until}`, each.by && `by ${each.by}`].filter(Boolean).join(", ");
}

function template(each) {
  return each.template && make("span", "", code(each.template), ` v${each.template_version}`);
}

function make(tag, className, ...content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...content);
  return made;
}

function code(text) {
  return make("code", "", text);
}

function statusOf(each) {
  return make("span", "status", make("span", `mark ${each.status}`), data.statuses[each.status]);
}

function rowOf(each) {
  const row = document.createElement("tr");
  for (const [name, [, linesOf]] of Object.entries(columns)) {
    const [first = "–", ...others] = linesOf(each).filter(Boolean);
    const below = others.map((line) => make("div", "soft small", line));
    row.append(make("td", numeric.has(name) ? "number" : name, first, ...below));
  }
  return row;
}

function show(rows) {
  body.replaceChildren(...rows.map(rowOf));
}

function showPage() {
  const first = page * ROWS_A_PAGE;
  const rows = shown.slice(first, first + ROWS_A_PAGE);
  show(rows);
  pages.hidden = shown.length <= ROWS_A_PAGE;
  pages.querySelector("span").textContent =
    `${number(first + 1)} to ${number(first + rows.length)} of ${number(shown.length)}`;
  pages.querySelector("[name=previous]").disabled = page === 0;
  pages.querySelector("[name=next]").disabled = first + ROWS_A_PAGE >= shown.length;
}

function filter() {
  const chosen = new FormData(filters);
  const text = chosen.get("text").toLowerCase().split(/\s+/).filter(Boolean);
  const region = chosen.get("region");
  const launcher = chosen.get("source");
  const statuses = chosen.getAll("status");
  shown = instances.filter((each) =>
    (!region || each.region === region)
    && (!launcher || each.finding_of === Number(launcher))
    && (!statuses.length || statuses.includes(each.status))
    && text.every((word) => each.searched.includes(word)));
  const by = [
    statuses.map((status) => data.statuses[status]).join(" or "),
    region && `in ${region}`,
    launcher && `launched by ${filters.elements.source.selectedOptions[0].text}`,
    text.length && `with “${text.join(" ")}”`,
  ].filter(Boolean).join(", ");
  found.textContent = by
    ? `${number(shown.length)} of ${number(instances.length)} instances: ${by}`
    : `${number(instances.length)} instances`;
  page = 0;
  showPage();
}

// Rows without a value come last in both directions; equal rows keep their order.
function sort(heading) {
  const descending = heading.getAttribute("aria-sort") === "ascending";
  for (const each of headings) each.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  order(columns[heading.dataset.column][0], descending ? -1 : 1);
  filter();
}

function order(valueOf, sign) {
  const values = new Map(instances.map((each) => [each, valueOf(each)]));
  instances.sort((one, other) => {
    const [a, b] = [values.get(one), values.get(other)];
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (typeof a === "number" ? a - b : words.compare(a, b));
  });
}

function turn(by) {
  page += by;
  showPage();
  document.getElementById("table").scrollIntoView();
}

for (const heading of headings) heading.addEventListener("click", () => sort(heading));
filters.addEventListener("input", filter);
filters.addEventListener("submit", (event) => event.preventDefault());
pages.querySelector("[name=previous]").addEventListener("click", () => turn(-1));
pages.querySelector("[name=next]").addEventListener("click", () => turn(1));

for (const button of document.querySelectorAll("button[data-source]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    filters.reset();
    filters.elements.source.value = button.dataset.source;
    filter();
    filters.elements.source.focus({ preventScroll: true });
    document.getElementById("instances").scrollIntoView();
  });
}

// Paper has no next page to turn to, and nothing to unfold: print all rows.
window.addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
  show(shown);
});
window.addEventListener("afterprint", showPage);

order(columns.status[0], 1);
document.getElementById("missing").hidden = true;
document.getElementById("table").hidden = false;
filter();
