"use strict";
// What is shown: the snapshot of the state tables, and what the reader has chosen to see of it.

const frozen = $("data") ? JSON.parse($("data").textContent) : null;
const KINDS = ["added", "updated", "deleted", "discarded"];
const KIND_NAMES = { null_identifier: "identifier is null", duplicate_identifier: "identifier is not unique" };
// What Segment calls a status, and which colour it has
const STATUSES = {
  in_progress: ["In progress", "info"], success: ["Successful", "good"], partial: ["Partially successful", "warn"],
  failed: ["Failed", "bad"], blocked: ["Blocked", "bad"], canceled: ["Canceled", "warn"],
  interrupted: ["Interrupted", "bad"], reset: ["Reset", "off"], never: ["Never synced", "off"],
};
const state = { snapshot: frozen, read: "", stamp: null, filter: "", status: "", all: new Set(), view: "", calls: null, preview: null, query: {} };

const mappingOf = (id) => state.snapshot.mappings.find((one) => one.id === id);
const syncsOf = (id) => state.snapshot.syncs.filter((one) => one.mapping_id === id);
const statusOf = (mapping) => syncsOf(mapping.id)[0]?.status ?? "never";
const linkTo = (kind, id) => `#/${kind}/${encodeURIComponent(id)}`;

const changed = (sync) => sync.added + sync.updated + sync.deleted;

function changes(sync) {
  const leftOut = sync.left_out ? [`${number(sync.left_out)} left out`] : [];
  return [...KINDS.map((kind) => `${number(sync[kind])} ${kind}`), ...leftOut].join(", ");
}

// Why a sync has sent less than it has found, where that is no failure; and how it ended before it was resumed.
function explained(sync) {
  const texts = (sync.earlier ?? []).map((one) => `An earlier attempt ended as ${(STATUSES[one.status]?.[0] ?? one.status).toLowerCase()} on ${exact(one.saved_at)}${one.error ? `: ${one.error}` : "."}`);
  if (sync.is_baseline) texts.push(`A baseline: ${counted(sync.left_out, "record")} remembered, none sent.`);
  else if (sync.left_out) texts.push(`${number(sync.left_out)} of ${counted(changed(sync), "change")} left out: the mapping sends ${sync.sync_mode.replaceAll(",", ", ")} records only.`);
  return texts.map((text) => element("p", { className: "said" }, folded(text)));
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
