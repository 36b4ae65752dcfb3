"use strict";
// Elements, and how numbers, times and values read. Whatever the tables hold becomes text: textContent and attributes,
// never markup.

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const FOLDED_CHARACTERS = 300, SHOWN_CHARACTERS = 200;

function element(tag, attributes = {}, ...content) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name === "className" ? "class" : name, value === true ? "" : value);
  }
  made.append(...content.flat().filter((one) => one !== null && one !== undefined && one !== false));
  return made;
}

function drawn(tag, attributes, ...content) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...content);
  return made;
}

const number = (value) => (value ?? 0).toLocaleString();
const counted = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
const exact = (iso) => new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
const short = (iso) => new Date(iso).toLocaleString(undefined, { month: "short", day: "numeric", hour: "numeric", minute: "2-digit", second: "2-digit",
  year: new Date(iso).getFullYear() === new Date().getFullYear() ? undefined : "numeric" });

// The time of day to the millisecond, in the reader's own time zone.
function clock(iso) {
  const time = new Date(iso);
  return isNaN(time) ? String(iso ?? "—") : time.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23" });
}

function ago(iso) {
  const seconds = (Date.now() - Date.parse(iso)) / 1000;
  const [unit, size] = [["day", 86400], ["hour", 3600], ["minute", 60]].find(([, length]) => seconds >= length) ?? ["second", 1];
  if (unit === "second") return seconds < 5 ? "just now" : "less than a minute ago";
  return new Intl.RelativeTimeFormat("en", { numeric: "always" }).format(-Math.floor(seconds / size), unit);
}

function when(iso, text = exact) {
  return iso ? element("time", { datetime: iso, title: `${exact(iso)} · ${iso}` }, text(iso)) : "—";
}

function count(value, tone = "") {
  return element("td", { className: `number ${value ? tone : "zero"}` }, number(value));
}

const TABLE_ROLES = [["table", "table"], ["thead, tbody", "rowgroup"], ["tr", "row"], ["thead th", "columnheader"], ["tbody th", "rowheader"], ["td", "cell"]];

// Where the page is narrow, each row is a card, in which cells are labelled as their columns are.
function table(caption, heads, rows, options = {}) {
  const names = heads.map((one) => one.replace("#", ""));
  const head = heads.map((one, at) => element("th", { scope: "col", className: one.startsWith("#") && "number" }, names[at]));
  for (const row of rows) [...row.children].forEach((cell, at) => { if (at) cell.dataset.label = names[at]; });
  const made = element("table", { className: options.className },
    element("caption", { className: "unseen" }, caption),
    element("thead", {}, element("tr", {}, head)),
    element("tbody", {}, rows));
  // said again, because a row that is drawn as a card is no longer a row of a table to screen readers
  for (const [selector, role] of TABLE_ROLES) for (const one of [made, ...made.querySelectorAll("*")]) if (one.matches(selector)) one.setAttribute("role", role);
  return element("div", { className: "scroll" }, made);
}

function section(title, ...content) {
  const id = `at-${title.toLowerCase().replace(/\W+/g, "-")}`;
  return element("section", { "aria-labelledby": id }, element("h2", { id }, title), ...content);
}

function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return element("dl", { className: "facts" }, known.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

// A long name breaks where its words do.
const breakable = (name) => name.split(/(?<=[._-])/).flatMap((part) => [part, element("wbr")]);
// What stands in `backticks` is code.
const worded = (text) => text.split("`").map((part, at) => at % 2 ? element("code", {}, part) : part);
const none = (text) => element("p", { className: "none" }, worded(text));

function listed(value) {
  const entries = flat(value);
  if (!entries.length) return none("empty");
  return element("dl", { className: "listed" }, entries.map(([key, one]) => element("div", {}, element("dt", {}, key), element("dd", { className: `is-${one === null ? "null" : typeof one}` }, folded(plain(one))))));
}

// A long text is cut, with a button that shows all of it.
function folded(text) {
  if (text.length <= FOLDED_CHARACTERS) return [text];
  const part = element("span", {}, `${text.slice(0, SHOWN_CHARACTERS)}…`);
  const button = element("button", { type: "button", className: "fold", "aria-expanded": "false", onclick: (event) => {
    event.preventDefault();
    const isOpen = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!isOpen));
    button.textContent = isOpen ? all : "Fold";
    part.textContent = isOpen ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
  } });
  const all = button.textContent = `Show all ${number(text.length)} characters`;
  return [part, button];
}

function flat(value, path = "") {
  const entries = Array.isArray(value) ? value.map((one, at) => [`${path}[${at}]`, one]) : Object.entries(value).map(([key, one]) => [path ? `${path}.${key}` : key, one]);
  return entries.flatMap(([key, one]) => one !== null && typeof one === "object" && Object.keys(one).length ? flat(one, key) : [[key, one]]);
}

function plain(value) {
  return value === "" ? '""' : typeof value === "object" ? JSON.stringify(value, (_, one) => typeof one === "bigint" ? String(one) : one) : String(value);
}

// A number that JavaScript cannot hold is kept as a BigInt, so that an identifier is shown as it is.
function parse(text) {
  return JSON.parse(text, (_, value, context) =>
    typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? "") ? BigInt(context.source) : value);
}
