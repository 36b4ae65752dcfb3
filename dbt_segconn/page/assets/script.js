"use strict";
// Whatever the tables hold reaches the page as text only: textContent and attributes, never markup.
const $ = (id) => document.getElementById(id);
const frozen = $("data") ? JSON.parse($("data").textContent) : null;
const SVG = "http://www.w3.org/2000/svg";
const KINDS = ["added", "updated", "deleted", "discarded"];
const SHOWN_SYNCS = 20;
const CHARTED_SYNCS = 90;
const STRIP_SYNCS = 20;
// What Segment calls a status, and which colour it has
const STATUSES = {
  in_progress: ["In progress", "info"], success: ["Successful", "good"], partial: ["Partially successful", "warn"],
  failed: ["Failed", "bad"], blocked: ["Blocked", "bad"], canceled: ["Canceled", "warn"],
  interrupted: ["Interrupted", "bad"], reset: ["Reset", "off"], never: ["Never synced", "off"],
};
const KIND_NAMES = { null_identifier: "identifier is null", duplicate_identifier: "identifier is not unique" };
const state = { snapshot: frozen, read: "", stamp: null, filter: "", status: "", all: new Set(), view: "", calls: null };

// --- making elements

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

function ago(iso) {
  const seconds = (Date.now() - Date.parse(iso)) / 1000;
  const [unit, size] = [["day", 86400], ["hour", 3600], ["minute", 60]].find(([, length]) => seconds >= length) ?? ["second", 1];
  if (unit === "second") return seconds < 5 ? "just now" : "less than a minute ago";
  return new Intl.RelativeTimeFormat("en", { numeric: "always" }).format(-Math.floor(seconds / size), unit);
}

function when(iso, text = exact) {
  return iso ? element("time", { datetime: iso, title: `${exact(iso)} · ${iso}` }, text(iso)) : "—";
}

function duration(sync) {
  const seconds = (Date.parse(sync.finished_at ?? sync.saved_at) - Date.parse(sync.started_at)) / 1000;
  if (!(seconds >= 0)) return "—";
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min ${Math.floor(seconds % 60)} s` : `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
}

function pill(status) {
  const [label, tone] = STATUSES[status] ?? [String(status), "off"];
  return element("span", { className: `pill ${tone}` }, label);
}

function count(value, tone = "") {
  return element("td", { className: `number ${value ? tone : "zero"}` }, number(value));
}

function table(caption, heads, rows, options = {}) {
  const head = heads.map((one) => element("th", { scope: "col", className: one.startsWith("#") && "number" }, one.replace("#", "")));
  return element("div", { className: "scroll" },
    element("table", { className: options.className },
      element("caption", { className: "unseen" }, caption),
      element("thead", {}, element("tr", {}, head)),
      element("tbody", {}, rows)));
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
const none = (text) => element("p", { className: "none" }, text);

// --- the snapshot

const mappingOf = (id) => state.snapshot.mappings.find((one) => one.id === id);
const syncsOf = (id) => state.snapshot.syncs.filter((one) => one.mapping_id === id);
const statusOf = (mapping) => syncsOf(mapping.id)[0]?.status ?? "never";
const linkTo = (kind, id) => `#/${kind}/${encodeURIComponent(id)}`;

function changes(sync) {
  return KINDS.map((kind) => `${number(sync[kind])} ${kind}`).join(", ");
}

// --- overview

function overview() {
  const { mappings } = state.snapshot;
  return [
    element("h1", { tabindex: "-1" }, "Overview"),
    mappings.length ? filters(mappings) : null,
    mappings.length ? element("div", { id: "mappings" }, mappingTable()) : welcome(),
  ];
}

function welcome() {
  return none("This project has no mappings yet. `dbt-segconn suggest MODEL` proposes one.");
}

function filters(mappings) {
  const chips = ["", ...Object.keys(STATUSES)].map((status) => {
    const fitting = mappings.filter((one) => !status || statusOf(one) === status).length;
    if (!fitting) return null;
    return element("button", {
      type: "button", className: `chip ${STATUSES[status]?.[1] ?? ""}`, "data-key": `chip-${status}`,
      "aria-pressed": String(state.status === status), onclick: () => { state.status = status; draw(); },
    }, STATUSES[status]?.[0] ?? "All", element("b", {}, number(fitting)));
  });
  const input = element("input", {
    id: "filter", type: "search", placeholder: "Filter mappings, models, actions, destinations", autocomplete: "off", spellcheck: "false",
    "aria-keyshortcuts": "/", "data-key": "filter",
    oninput: () => { state.filter = input.value; $("mappings").replaceChildren(mappingTable()); },
  });
  input.value = state.filter;
  return element("form", { className: "filters", role: "search", "aria-label": "Mappings", onsubmit: (event) => event.preventDefault() },
    element("div", { className: "chips", role: "group", "aria-label": "Status of the latest sync" }, chips),
    element("label", { className: "grow" }, element("span", { className: "unseen" }, "Filter"), input));
}

function mappingTable() {
  const words = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (one) => (!state.status || statusOf(one) === state.status)
    && words.every((word) => [one.name, one.model, one.action, one.destination].join(" ").toLowerCase().includes(word));
  const rows = state.snapshot.mappings.filter(fits).map(mappingRow);
  if (!rows.length) return none("No mapping fits the filter.");
  return table("Mappings with their latest syncs",
    ["Mapping", "Status", "Latest sync", "Model", "Action", "Destination", "Enabled", "#Confirmed", "#Discarded", "Recent syncs"], rows, { className: "overview" });
}

function mappingRow(mapping) {
  const [latest] = syncsOf(mapping.id);
  const name = mapping.name.startsWith(`${mapping.model}.`) ? mapping.name.slice(mapping.model.length + 1) : mapping.name;
  return element("tr", { className: mapping.is_enabled ? "row" : "row is-off" },
    element("th", { scope: "row" },
      element("a", { href: linkTo("mapping", mapping.id), className: "open", "data-key": mapping.id, "aria-label": mapping.name }, name),
      mapping.is_in_project ? null : element("span", { className: "tag" }, "gone from the project")),
    element("td", { className: "status" }, pill(statusOf(mapping))),
    element("td", { className: "latest soft" }, latest ? when(latest.started_at, ago) : "—"),
    element("td", {}, mapping.model),
    element("td", { className: "action" }, element("span", { className: `kind ${mapping.action}` }, mapping.action)),
    element("td", {}, mapping.destination),
    element("td", {}, mapping.is_enabled ? "yes" : element("span", { className: "tag" }, "no")),
    latest ? count(latest.confirmed) : element("td", { className: "number zero" }, "—"),
    latest ? count(latest.discarded, "bad") : element("td", { className: "number zero" }, "—"),
    element("td", { className: "recent" }, strip(syncsOf(mapping.id).slice(0, STRIP_SYNCS).reverse())));
}

// How the last syncs ended, oldest first: a taller mark for what needs a look.
function strip(syncs) {
  const tally = Object.entries(STATUSES).map(([status, [label]]) => [label, syncs.filter((one) => one.status === status).length]).filter(([, many]) => many);
  const words = tally.map(([label, many]) => `${many} ${label.toLowerCase()}`).join(", ") || "none";
  const marks = syncs.map((sync, at) => {
    const tone = STATUSES[sync.status]?.[1] ?? "off";
    const height = { good: 8, info: 12, off: 5 }[tone] ?? 16;
    const left = (STRIP_SYNCS - syncs.length + at) * 5;
    return drawn("rect", { x: left, y: 16 - height, width: 3, height, rx: 1, class: `mark ${tone}` });
  });
  const made = drawn("svg", { class: "strip", width: STRIP_SYNCS * 5, height: 16, role: "img", "aria-label": `Last ${counted(syncs.length, "sync")}: ${words}` }, ...marks);
  made.prepend(drawn("title", {}, words));
  return made;
}

// --- one mapping

function mappingView(id) {
  const mapping = mappingOf(id);
  if (!mapping) return missing("This mapping is neither in the project nor in its state tables.");
  const syncs = syncsOf(id);
  return [
    crumbs(),
    element("h1", { tabindex: "-1" }, element("span", {}, breakable(mapping.name)), pill(statusOf(mapping)), mapping.is_enabled ? null : element("span", { className: "tag" }, mapping.is_in_project ? "disabled" : "gone from the project")),
    facts([["Model", mapping.model], ["Action", mapping.action], ["Destination", mapping.destination], ["Sync mode", mapping.sync_mode.join(", ")],
      ["Unique identifier", mapping.identifier.join(", ")], ["Written in", mapping.file]]),
    syncs[0]?.error ? said(syncs[0]) : null,
    history(syncs),
    discards(mapping),
    frozen || !mapping.is_in_project ? null : preview(mapping),
    Object.keys(mapping.fields).length ? section("Fields", fieldTable(mapping)) : null,
  ];
}

function crumbs(mapping) {
  return element("nav", { className: "crumbs", "aria-label": "Where you are" },
    element("a", { href: "#/" }, "Overview"), mapping ? [" / ", element("a", { href: linkTo("mapping", mapping.id) }, mapping.name)] : null);
}

function missing(text) {
  return [crumbs(), element("h1", { tabindex: "-1" }, "Not here"), none(text)];
}

function said(sync) {
  return element("p", { className: `said ${STATUSES[sync.status]?.[1] ?? "off"}` }, sync.error);
}

function history(syncs) {
  if (!syncs.length) return section("History", none("No sync yet: `dbt-segconn run` makes the first."));
  const isWhole = state.all.has(syncs[0].mapping_id);
  const rows = syncs.slice(0, isWhole ? syncs.length : SHOWN_SYNCS).map((sync) => element("tr", { className: "row" },
    element("th", { scope: "row" }, element("a", { href: linkTo("sync", sync.sync_id), className: "open", "data-key": sync.sync_id }, when(sync.started_at, short))),
    element("td", {}, pill(sync.status)),
    count(sync.added), count(sync.updated), count(sync.deleted), count(sync.discarded, "bad"), count(sync.confirmed),
    element("td", { className: "number soft" }, duration(sync))));
  return section("History",
    chart(syncs.slice(0, CHARTED_SYNCS).reverse()),
    table("Syncs of this mapping, newest first", ["Started", "Status", "#Added", "#Updated", "#Deleted", "#Discarded", "#Confirmed", "#Duration"], rows),
    syncs.length > SHOWN_SYNCS && !isWhole
      ? element("button", { type: "button", className: "more", onclick: () => { state.all.add(syncs[0].mapping_id); draw(); } }, `Show all ${number(syncs.length)}`) : null);
}

function discards(mapping) {
  const rows = state.snapshot.discards.filter((one) => one.mapping_id === mapping.id);
  if (!rows.length) return null;
  const why = none("Offered again in their latest form for 5 syncs or 14 days, then given up until they change.");
  if (!state.snapshot.has_identifiers) return section("Discarded records", why, reasonTable(grouped(rows)));
  const lines = rows.map((one) => element("tr", {},
    element("th", { scope: "row", className: "mono" }, one.record_id ?? "null"),
    element("td", {}, KIND_NAMES[one.kind] ?? one.kind),
    element("td", { className: "wide" }, one.reason),
    count(one.attempts), element("td", {}, when(one.last_at, ago)),
    element("td", {}, one.given_up === "yes" ? element("span", { className: "tag bad" }, "given up") : "")));
  return section("Discarded records", why, table("Refusals that stand", ["Record", "Change", "Reason", "#Attempts", "Last", ""], lines));
}

function grouped(rows) {
  const groups = new Map();
  for (const { kind, reason } of rows) {
    const key = JSON.stringify([kind, reason]);
    groups.set(key, { kind, reason, refused: (groups.get(key)?.refused ?? 0) + 1 });
  }
  return [...groups.values()].sort((one, other) => other.refused - one.refused);
}

function reasonTable(reasons) {
  return table("Reasons of refusals", ["Reason", "Change", "#Records"], reasons.map((one) => element("tr", {},
    element("th", { scope: "row", className: "wide" }, one.reason), element("td", {}, KIND_NAMES[one.kind] ?? one.kind), count(one.refused, "bad"))));
}

function fieldTable(mapping) {
  return table("Fields of the call, and what fills them", ["Field", "Filled with"], flat(mapping.fields).map(([path, value]) => element("tr", {},
    element("th", { scope: "row", className: "mono" }, path), element("td", { className: "mono wide" }, plain(value)))));
}

// --- the chart: one lane for each kind of change, each to its own scale

function chart(syncs) {
  const said = element("p", { className: "readout", "aria-hidden": "true" });
  const figure = element("figure", { className: "chart" }, said);
  let active = null;
  const redraw = () => {
    const width = figure.clientWidth - 32;
    if (width > 0) { figure.querySelector("svg")?.remove(); figure.append(lanes(syncs, width, tell)); }
  };
  const tell = (sync) => {
    active = sync;
    said.replaceChildren(...(sync ? [when(sync.started_at), ...KINDS.map((kind) => element("span", { className: `key ${kind}` }, `${number(sync[kind])} ${kind}`))]
      : [`${counted(syncs.length, "sync")}, oldest first`, element("span", { className: "soft" }, "each row has its own scale")]));
  };
  tell(null);
  new ResizeObserver(() => { if (!active) redraw(); }).observe(figure);
  return figure;
}

function lanes(syncs, width, tell) {
  const left = 86, lane = 46, top = 4, strip = 26;
  const slots = Math.max(syncs.length, 24), slot = (width - left) / slots;
  const bar = Math.max(Math.min(slot * 0.68, 16), 1.5);
  const bottom = top + lane * KINDS.length, height = bottom + strip + 20;
  const first = slots - syncs.length;
  const centre = (at) => left + (first + at + 0.5) * slot;
  const made = drawn("svg", { width, height, role: "group", "aria-label": "Added, updated, deleted and discarded records of each sync. The table below has the same numbers." });
  KINDS.forEach((kind, row) => made.append(...laneOf(kind, syncs, { base: top + lane * (row + 1), lane, left, width, bar, centre })));
  syncs.forEach((sync, at) => {
    const tone = STATUSES[sync.status]?.[1] ?? "off";
    made.append(drawn("rect", { x: centre(at) - bar / 2, y: bottom + 15, width: bar, height: 5, rx: 1, class: `mark ${tone}` }));
  });
  made.append(drawn("text", { x: 0, y: bottom + 21, class: "lane-name" }, "status"));
  const last = syncs.length - 1;
  const day = (sync) => new Date(sync.started_at).toLocaleDateString(undefined, { day: "numeric", month: "short" });
  const time = (sync) => new Date(sync.started_at).toLocaleTimeString(undefined, { hour: "numeric", minute: "2-digit" });
  const label = day(syncs[0]) === day(syncs[last]) ? (sync) => `${day(sync)}, ${time(sync)}` : day;
  if (slot * last > 200) made.append(drawn("text", { x: centre(0) - bar / 2, y: height - 2, class: "tick" }, label(syncs[0])));
  made.append(drawn("text", { x: centre(last) + bar / 2, y: height - 2, class: "tick", "text-anchor": "end" }, label(syncs[last])));
  made.append(...syncs.map((sync, at) => hit(sync, at === syncs.length - 1, { x: centre(at) - slot / 2, width: slot, height: bottom + strip }, tell)));
  made.addEventListener("mouseleave", () => tell(null));
  made.addEventListener("keydown", walk);
  return made;
}

function laneOf(kind, syncs, { base, lane, left, width, bar, centre }) {
  const most = Math.max(...syncs.map((sync) => sync[kind]));
  const room = lane - 14;
  const bars = syncs.map((sync, at) => {
    const height = sync[kind] ? Math.max((sync[kind] / most) * room, 2) : 0;
    return height && drawn("rect", { x: centre(at) - bar / 2, y: base - height, width: bar, height, rx: Math.min(1.5, bar / 3), class: `bar ${kind}` });
  }).filter(Boolean);
  return [
    drawn("line", { x1: left, x2: width, y1: base + 0.5, y2: base + 0.5, class: "base" }),
    drawn("text", { x: 0, y: base - 16, class: `lane-name ${kind}` }, kind),
    drawn("text", { x: 0, y: base - 2, class: "tick" }, most ? `up to ${number(most)}` : "none"),
    ...bars,
  ];
}

// One tab stop for the chart; arrows move among its syncs, Enter opens one.
function hit(sync, isLast, { x, width, height }, tell) {
  const link = drawn("a", { href: linkTo("sync", sync.sync_id), class: "hit", tabindex: isLast ? "0" : "-1", "aria-label": `${exact(sync.started_at)}, ${STATUSES[sync.status]?.[0] ?? sync.status}: ${changes(sync)}` },
    drawn("rect", { x, y: 0, width, height }));
  link.addEventListener("mouseenter", () => tell(sync));
  link.addEventListener("focus", () => tell(sync));
  link.addEventListener("blur", () => tell(null));
  return link;
}

function walk(event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const links = [...event.currentTarget.querySelectorAll(".hit")];
  const next = step && links[links.indexOf(document.activeElement) + step];
  if (!next) return;
  document.activeElement.setAttribute("tabindex", "-1");
  next.setAttribute("tabindex", "0");
  next.focus();
  event.preventDefault();
}

// --- one sync

function syncView(id) {
  const sync = state.snapshot.syncs.find((one) => one.sync_id === id);
  if (!sync) return missing("This sync is not among those that were read.");
  const mapping = mappingOf(sync.mapping_id);
  const siblings = syncsOf(sync.mapping_id);
  const at = siblings.indexOf(sync);
  const reasons = state.snapshot.reasons.filter((one) => one.sync_id === id);
  return [
    crumbs(mapping),
    element("h1", { tabindex: "-1" }, element("span", {}, "Sync of ", when(sync.started_at)), pill(sync.status)),
    element("nav", { className: "pager", "aria-label": "Other syncs of this mapping" }, beside("← Earlier", siblings[at + 1]), beside("Later →", siblings[at - 1])),
    sync.error ? said(sync) : null,
    sync.has_outbox && sync.status !== "in_progress" ? none("What it has not delivered waits in its outbox; the next run delivers that first.") : null,
    flow(sync),
    reasons.length ? section("Reasons", reasonTable(reasons), sync.unidentified ? none("Records that share an identifier are counted once here.") : null) : null,
    refused(sync, reasons),
    section("Details", facts([["Mapping", mapping?.name], ["Started", when(sync.started_at)], ["Finished", sync.finished_at ? when(sync.finished_at) : "not yet"],
      ["Duration", duration(sync)], ["Sync mode", sync.sync_mode.replaceAll(",", ", ")], ["Watermark", number(sync.watermark)], ["Sync", code(sync.sync_id)],
      ["Invocation", code(sync.invocation_id)], ["dbt's invocation", code(sync.dbt_invocation_id)]])),
  ];
}

const code = (text) => text && element("code", {}, text);
const beside = (label, sync) => sync ? element("a", { href: linkTo("sync", sync.sync_id) }, label) : element("span", { className: "soft" }, label);

function flow(sync) {
  const pending = Math.max(sync.to_send + sync.unidentified - sync.confirmed - sync.discarded, 0);
  const group = (title, total, parts) => element("div", { className: "stage" },
    element("h3", {}, title), element("p", { className: "total" }, number(total)),
    element("ul", {}, parts.filter(([, many, always]) => many || always).map(([label, many, , tone]) =>
      element("li", { className: many ? tone : "zero" }, element("span", {}, label), element("b", {}, number(many))))));
  const done = [["confirmed", sync.confirmed], ["discarded", sync.discarded], ["pending", pending]];
  return section("Records",
    element("div", { className: "flow" },
      group("Extracted", sync.added + sync.updated + sync.deleted + sync.unidentified, [["added", sync.added, true, "added"], ["updated", sync.updated, true, "updated"], ["deleted", sync.deleted, true, "deleted"], ["identifier null or not unique", sync.unidentified, false, "discarded"]]),
      group("To send", sync.to_send, [["left out by the sync mode", sync.left_out, true, ""]]),
      group("Confirmed", sync.confirmed, [["discarded", sync.discarded, true, "discarded"], ["not delivered", pending, false, ""], ["by a later run", sync.resumed, false, ""]])),
    proportion(done));
}

function proportion(parts) {
  const total = parts.reduce((sum, [, many]) => sum + many, 0);
  if (!total) return null;
  let x = 0;
  const made = drawn("svg", { class: "proportion", viewBox: "0 0 1000 8", preserveAspectRatio: "none", role: "img", "aria-label": parts.map(([label, many]) => `${number(many)} ${label}`).join(", ") });
  for (const [label, many] of parts) {
    const width = (many / total) * 1000;
    if (many) made.append(drawn("rect", { x, y: 0, width: Math.max(width, 3), height: 8, class: label }));
    x += width;
  }
  return made;
}

function refused(sync, reasons) {
  const rows = state.snapshot.refused.filter((one) => one.sync_id === sync.sync_id);
  if (!rows.length) return reasons.length ? none(state.snapshot.has_identifiers ? "Its records are not among the newest refusals that were read." : "Identifiers of records are left out of this page.") : null;
  return section("Discarded records", table("Records that this sync refused", ["Record", "Change", "Reason"], rows.map((one) => element("tr", {},
    element("th", { scope: "row", className: "mono" }, one.record_id ?? "null"), element("td", {}, KIND_NAMES[one.kind] ?? one.kind), element("td", { className: "wide" }, one.reason)))));
}

// --- preview of a mapping on records

function preview(mapping) {
  const record = element("input", { id: "record", type: "search", placeholder: "Identifier of a record; any by default", autocomplete: "off", spellcheck: "false" });
  const kind = element("select", { id: "kind" }, ["as the mapping sends", "added", "updated", "deleted"].map((one, at) => element("option", { value: at ? one : "" }, one)));
  const button = element("button", { type: "submit" }, "Preview");
  const shown = element("div", { className: "previews", "aria-live": "polite" });
  const ask = async (event) => {
    event.preventDefault();
    button.disabled = true;
    shown.replaceChildren(none("Asking the warehouse…"));
    const answer = await fetched("api/preview", { mapping: mapping.name, record: record.value, kind: kind.value });
    button.disabled = false;
    shown.replaceChildren(...(answer.problem ? [problem(answer.problem)] : previews(answer.calls, record.value)));
  };
  return section("Preview",
    none("The calls that a run would send now. Nothing is sent; the warehouse is asked when you ask for it."),
    element("form", { className: "ask", onsubmit: ask },
      element("label", {}, element("span", {}, "Record"), record), element("label", {}, element("span", {}, "Changes"), kind), button),
    shown);
}

function previews(calls, record) {
  if (!calls.length) return [none(record ? `No change of ${record} to send: it is not in the model, or Segment has its latest form.` : "Nothing to send: Segment has the latest form of every record.")];
  return calls.map((one) => element("article", { className: "pair", "aria-label": `Record ${one.record_id}` },
    element("div", {}, element("h3", {}, "Record ", element("code", {}, one.record_id), " ", element("span", { className: `key ${one.kind}` }, one.kind)), listed(one.record)),
    element("div", {}, element("h3", {}, "Call"), one.call ? listed(one.call) : element("p", { className: "said bad" }, `Would be discarded: ${one.discard}`))));
}

function listed(value) {
  const entries = flat(value);
  if (!entries.length) return none("empty");
  return element("dl", { className: "listed" }, entries.map(([key, one]) => element("div", {}, element("dt", {}, key), element("dd", { className: `is-${one === null ? "null" : typeof one}` }, plain(one)))));
}

function flat(value, path = "") {
  const entries = Array.isArray(value) ? value.map((one, at) => [`${path}[${at}]`, one]) : Object.entries(value).map(([key, one]) => [path ? `${path}.${key}` : key, one]);
  return entries.flatMap(([key, one]) => one !== null && typeof one === "object" && Object.keys(one).length ? flat(one, key) : [[key, one]]);
}

function plain(value) {
  return value === null ? "null" : value === "" ? '""' : typeof value === "object" ? (Array.isArray(value) ? "[]" : "{}") : String(value);
}

// A number that JavaScript cannot hold is kept as a BigInt, so that an identifier is shown as it is.
function parse(text) {
  return JSON.parse(text, (_, value, context) =>
    typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? "") ? BigInt(context.source) : value);
}

// --- the debugger's live calls

function callsView() {
  return [
    element("h1", { tabindex: "-1" }, "Live calls"),
    element("p", { className: "none" }, "What the local stand-in for Segment receives, newest first: ", element("a", { id: "debugger", target: "_blank", rel: "noreferrer" }, "the debugger")),
    element("div", { id: "calls" }, none("Asking the debugger…")),
  ];
}

async function listen() {
  if (state.view === "#/calls" && !document.hidden) {
    const answer = await fetched("api/calls");
    if (state.view === "#/calls") drawCalls(answer);
  }
  setTimeout(listen, 1000);
}

function drawCalls(answer) {
  const seen = JSON.stringify([answer.url, answer.problem, answer.calls?.[0]?.number, answer.calls?.length, answer.counts]);
  if (!$("calls") || (state.calls === seen && $("calls").dataset.drawn)) return;
  state.calls = seen;
  const open = new Set([...$("calls").querySelectorAll("details[open]")].map((one) => one.dataset.number));
  $("calls").dataset.drawn = "yes";
  if (answer.url) { $("debugger").href = answer.url; $("debugger").textContent = answer.url; }
  if (answer.problem) return $("calls").replaceChildren(problem(answer.problem));
  const { accepted, dropped } = answer.counts;
  $("calls").replaceChildren(
    element("p", { className: "readout" }, `${counted(accepted, "call")} accepted`, element("span", { className: dropped ? "bad" : "soft" }, `${number(dropped)} dropped`)),
    answer.calls.length ? element("div", { className: "calls", role: "list" }, answer.calls.map((one) => callOf(one, open))) : none("No calls yet."));
}

function callOf({ number: at, dropped, text }, open) {
  const call = parse(text);
  const name = call.event || call.name || call.groupId || call.traits?.email || call.traits?.name || "—";
  const words = [element("span", { className: `kind ${call.type}` }, plain(call.type ?? "no type")), element("span", { className: "name" }, plain(name)),
    element("span", { className: "soft user" }, plain(call.userId || call.anonymousId || "—")), element("time", { datetime: call.receivedAt, className: "soft" }, new Date(call.receivedAt).toLocaleTimeString())];
  const made = element("details", { "data-number": at, open: open.has(String(at)) },
    element("summary", { "data-key": `call-${at}` }, words, dropped ? element("span", { className: "why" }, `Dropped: ${dropped}`) : null));
  const fill = () => { if (made.open && made.childElementCount === 1) made.append(listed(call)); };
  made.addEventListener("toggle", fill);
  fill();
  return element("div", { role: "listitem", className: dropped ? "is-dropped" : false }, made);
}

// --- what is asked of the server

async function fetched(path, query = {}) {
  try {
    const answer = await fetch(`${path}?${new URLSearchParams(query)}`);
    return answer.ok ? parse(await answer.text()) : { problem: { title: `dbt-segconn ui failed to answer (HTTP status ${answer.status}).`, lines: [] } };
  } catch {
    return { problem: { title: "dbt-segconn ui does not answer. Is it still running?", lines: [] } };
  }
}

function problem({ title, lines }) {
  return element("div", { className: "problem" }, element("strong", {}, title), lines.length ? element("ul", {}, lines.map((one) => element("li", {}, one))) : null);
}

async function refresh() {
  if (frozen || state.reading) return;
  state.reading = true;
  $("refresh").disabled = true;
  $("age").textContent = "Reading…";
  const answer = await fetched("api/snapshot");
  state.reading = false;
  $("refresh").disabled = false;
  state.stamp = answer.stamp ?? state.stamp;
  state.snapshot = answer.snapshot ?? state.snapshot;
  $("notice").replaceChildren(...(answer.problem ? [problem(answer.problem)] : []));
  draw();
}

// A run that ends on this machine writes its artifact: the page then reads the tables at once, before another process
// needs them. It never looks by itself at any other time, because to look at a DuckDB file keeps others out of it.
async function watch() {
  if (!document.hidden && !state.reading) {
    const { stamp } = await fetched("api/stamp");
    if (stamp !== undefined && state.stamp !== null && stamp !== state.stamp) await refresh();
  }
  setTimeout(watch, 1000);
}

// --- drawing

const VIEWS = { mapping: mappingView, sync: syncView, calls: callsView };

function draw() {
  const moved = state.view !== location.hash;
  state.view = location.hash;
  const [, kind, id] = location.hash.split("/");
  for (const link of $("nav").children) {
    const isHere = link.getAttribute("href") === (kind === "calls" ? "#/calls" : "#/");
    if (isHere) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  if (!state.snapshot) {
    $("age").textContent = "";
    if ($("notice").childElementCount) $("main").replaceChildren();
    return;
  }
  if (!moved && kind === "calls") return drawAge();
  const key = document.activeElement?.dataset?.key;
  const scrolled = window.scrollY;
  const content = VIEWS[kind] ? VIEWS[kind](decodeURIComponent(id ?? "")) : overview();
  $("main").replaceChildren(...content.filter(Boolean));
  const heading = $("main").querySelector("h1");
  document.title = `${VIEWS[kind] ? heading.firstChild.textContent : state.snapshot.project} · dbt-segconn`;
  $("project").textContent = state.snapshot.project;
  $("version").textContent = `dbt-segconn ${state.snapshot.dbt_segconn_version}`;
  drawAge();
  if (!moved) {
    $("main").querySelector(`[data-key="${CSS.escape(key ?? "")}"]`)?.focus();
    window.scrollTo(0, scrolled);
  } else if (state.drawn) {
    heading.focus();
    window.scrollTo(0, 0);
  }
  state.drawn = true;
}

function drawAge() {
  $("age").replaceChildren(frozen ? "As of " : "Read ", when(state.snapshot.generated_at, frozen ? exact : ago));
}

// --- keys

function move(step) {
  const all = [...$("main").querySelectorAll("a.open, .calls summary")];
  const at = all.indexOf(document.activeElement);
  const next = all[at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + step, 0), all.length - 1)];
  next?.focus();
  return Boolean(next);
}

function back() {
  const [, kind, id] = location.hash.split("/");
  const sync = kind === "sync" && state.snapshot?.syncs.find((one) => one.sync_id === decodeURIComponent(id));
  if (kind) location.hash = sync ? linkTo("mapping", sync.mapping_id) : "#/";
  return Boolean(kind);
}

function pressed(event) {
  const target = event.target;
  const isWriting = target.matches("input, select");
  if (event.key === "Escape" && isWriting) { target.blur(); return true; }
  if (isWriting && !(target.id === "filter" && event.key === "ArrowDown")) return false;
  const keys = {
    ArrowDown: () => move(1), ArrowUp: () => move(-1), Escape: back,
    "/": () => { $("filter")?.select(); return Boolean($("filter")); },
    r: () => { refresh(); return true; },
  };
  return keys[event.key]?.() ?? false;
}

document.addEventListener("keydown", (event) => {
  if (!event.ctrlKey && !event.metaKey && !event.altKey && !event.defaultPrevented && pressed(event)) event.preventDefault();
});
window.addEventListener("hashchange", draw);
$("skip").addEventListener("click", (event) => { event.preventDefault(); $("main").focus(); });
if (frozen) {
  for (const one of document.querySelectorAll(".live-only")) one.remove();
  draw();
} else {
  $("refresh").addEventListener("click", refresh);
  refresh().then(watch);
  listen();
}
setInterval(() => { if (state.snapshot && !state.reading) drawAge(); }, 30000);
