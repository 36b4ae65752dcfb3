// DOM elements, and the format of numbers, times and values. Data is set as textContent or attributes, never as markup.

export const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const FOLDED_CHARACTERS = 300;
const SHOWN_CHARACTERS = 200;

export function element(tag, attributes = {}, ...content) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name === "className" ? "class" : name, value === true ? "" : value);
  }
  node.append(...content.flat().filter((one) => one !== null && one !== undefined && one !== false));
  return node;
}

export function svgElement(tag, attributes, ...content) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...content);
  return node;
}

export const number = (value) => (value ?? 0).toLocaleString();
export const counted = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
export const exact = (iso) => new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
export const short = (iso) =>
  new Date(iso).toLocaleString(undefined, {
    month: "short",
    day: "numeric",
    hour: "numeric",
    minute: "2-digit",
    second: "2-digit",
    year: new Date(iso).getFullYear() === new Date().getFullYear() ? undefined : "numeric",
  });

// Formats the time of day to the millisecond, in the browser's time zone.
export function clock(iso) {
  const time = new Date(iso);
  return Number.isNaN(time.getTime())
    ? String(iso ?? "—")
    : time.toLocaleTimeString(undefined, {
        hour: "2-digit",
        minute: "2-digit",
        second: "2-digit",
        fractionalSecondDigits: 3,
        hourCycle: "h23",
      });
}

export function ago(iso) {
  const seconds = (Date.now() - Date.parse(iso)) / 1000;
  const [unit, size] = [
    ["day", 86400],
    ["hour", 3600],
    ["minute", 60],
  ].find(([, length]) => seconds >= length) ?? ["second", 1];
  if (unit === "second") return seconds < 5 ? "just now" : "less than a minute ago";
  return new Intl.RelativeTimeFormat("en", { numeric: "always" }).format(-Math.floor(seconds / size), unit);
}

export function when(iso, text = exact) {
  return iso ? element("time", { datetime: iso, title: `${exact(iso)} · ${iso}` }, text(iso)) : "—";
}

export function count(value, tone = "") {
  return element("td", { className: `number ${value ? tone : "zero"}` }, number(value));
}

const TABLE_ROLES = [
  ["table", "table"],
  ["thead, tbody", "rowgroup"],
  ["tr", "row"],
  ["thead th", "columnheader"],
  ["tbody th", "rowheader"],
  ["td", "cell"],
];

// On a narrow page, CSS shows each row as a card and labels its cells with the names of their columns.
export function table(caption, heads, rows, options = {}) {
  const names = heads.map((one) => one.replace("#", ""));
  const head = heads.map((one, at) =>
    element("th", { scope: "col", className: one.startsWith("#") && "number" }, names[at]),
  );
  for (const row of rows)
    [...row.children].forEach((cell, at) => {
      if (at) cell.dataset.label = names[at];
    });
  const node = element(
    "table",
    { className: options.className },
    element("caption", { className: "unseen" }, caption),
    element("thead", {}, element("tr", {}, head)),
    element("tbody", {}, rows),
  );
  // explicit roles, because rows shown as cards lose their table roles for screen readers
  for (const [selector, role] of TABLE_ROLES)
    for (const one of [node, ...node.querySelectorAll("*")]) if (one.matches(selector)) one.setAttribute("role", role);
  return element("div", { className: "scroll" }, node);
}

export function section(title, ...content) {
  const id = `at-${title.toLowerCase().replace(/\W+/g, "-")}`;
  return element("section", { "aria-labelledby": id }, element("h2", { id }, title), ...content);
}

export function facts(pairs) {
  const present = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return element(
    "dl",
    { className: "facts" },
    present.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))),
  );
}

// Allows line breaks after dots, underscores and hyphens.
export const breakable = (name) => name.split(/(?<=[._-])/).flatMap((part) => [part, element("wbr")]);
// Shows text in `backticks` as code.
export const withCode = (text) => text.split("`").map((part, at) => (at % 2 ? element("code", {}, part) : part));
export const none = (text) => element("p", { className: "none" }, withCode(text));

export function valueList(value) {
  const entries = flatten(value);
  if (!entries.length) return none("empty");
  return element(
    "dl",
    { className: "listed" },
    entries.map(([key, one]) =>
      element(
        "div",
        {},
        element("dt", {}, key),
        element("dd", { className: `is-${one === null ? "null" : typeof one}` }, foldable(plain(one))),
      ),
    ),
  );
}

// Truncates a long text, with a button that shows all of it.
export function foldable(text) {
  if (text.length <= FOLDED_CHARACTERS) return [text];
  const part = element("span", {}, `${text.slice(0, SHOWN_CHARACTERS)}…`);
  const button = element("button", {
    type: "button",
    className: "fold",
    "aria-expanded": "false",
    onclick: (event) => {
      event.preventDefault();
      const isOpen = button.getAttribute("aria-expanded") === "true";
      button.setAttribute("aria-expanded", String(!isOpen));
      button.textContent = isOpen ? all : "Fold";
      part.textContent = isOpen ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
    },
  });
  const all = `Show all ${number(text.length)} characters`;
  button.textContent = all;
  return [part, button];
}

export function flatten(value, path = "") {
  const entries = Array.isArray(value)
    ? value.map((one, at) => [`${path}[${at}]`, one])
    : Object.entries(value).map(([key, one]) => [path ? `${path}.${key}` : key, one]);
  return entries.flatMap(([key, one]) =>
    one !== null && typeof one === "object" && Object.keys(one).length ? flatten(one, key) : [[key, one]],
  );
}

export function plain(value) {
  return value === ""
    ? '""'
    : typeof value === "object"
      ? JSON.stringify(value, (_, one) => (typeof one === "bigint" ? String(one) : one))
      : String(value);
}

// Parses JSON with large integers as BigInt, because a JavaScript number would change an identifier.
export function parse(text) {
  return JSON.parse(text, (_, value, context) =>
    typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? "")
      ? BigInt(context.source)
      : value,
  );
}
