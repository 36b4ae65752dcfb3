// The snapshot of the state tables, the state of the page, and what views derive from them.

import { $, counted, element, exact, foldable, number } from "./elements.js";

export const frozen = $("data") ? JSON.parse($("data").textContent) : null;
export const LANES = ["added", "updated", "deleted", "discarded"];
const CHANGE_NAMES = { null_identifier: "identifier is null", duplicate_identifier: "identifier is not unique" };
// Segment's name and the tone of each status
export const STATUSES = {
  in_progress: ["In progress", "info"],
  success: ["Successful", "good"],
  partial: ["Partially successful", "warn"],
  failed: ["Failed", "bad"],
  blocked: ["Blocked", "bad"],
  canceled: ["Canceled", "warn"],
  planned: ["Planned", "info"],
  interrupted: ["Interrupted", "bad"],
  reset: ["Reset", "off"],
  resend: ["Marked to send again", "info"],
  never: ["Never synced", "off"],
};
export const state = {
  snapshot: frozen,
  stamp: null,
  filter: "",
  status: "",
  all: new Set(),
  view: "",
  preview: null,
  past: null,
  query: {},
};

export const mappingOf = (id) => state.snapshot.mappings.find((one) => one.id === id);
export const syncsOf = (id) => state.snapshot.syncs.filter((one) => one.mapping_id === id);
export const statusOf = (mapping) => syncsOf(mapping.id)[0]?.status ?? "never";
export const changeName = (changeType) => CHANGE_NAMES[changeType] ?? changeType;
export const redraw = () => window.dispatchEvent(new Event("redraw"));
export const linkTo = (view, id) => `#/${view}/${encodeURIComponent(id)}`;

export const changed = (sync) => sync.added + sync.updated + sync.deleted;

export function changes(sync) {
  const leftOut = sync.left_out ? [`${number(sync.left_out)} left out`] : [];
  return [...LANES.map((lane) => `${number(sync[lane])} ${lane}`), ...leftOut].join(", ");
}

// Explains earlier attempts of a resumed sync, and changes that were left out.
export function notesOn(sync) {
  const texts = (sync.earlier ?? []).map(
    (one) =>
      `An earlier attempt ended on ${exact(one.saved_at)} with status ${(STATUSES[one.status]?.[0] ?? one.status).toLowerCase()}${one.error ? `: ${one.error}` : "."}`,
  );
  if (sync.is_baseline) texts.push(`Baseline: ${counted(sync.left_out, "record")} stored, none sent.`);
  else if (sync.left_out)
    texts.push(
      `${number(sync.left_out)} of ${counted(changed(sync), "change")} left out, because the mapping sends only ${sync.sync_mode.replaceAll(",", ", ")} records.`,
    );
  return texts.map((text) => element("p", { className: "message" }, foldable(text)));
}

export function duration(sync) {
  const seconds = (Date.parse(sync.finished_at ?? sync.saved_at) - Date.parse(sync.started_at)) / 1000;
  if (!(seconds >= 0)) return "—";
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return hours
    ? `${hours} h ${minutes} min`
    : minutes
      ? `${minutes} min ${Math.floor(seconds % 60)} s`
      : `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
}

export function pill(status) {
  const [label, tone] = STATUSES[status] ?? [String(status), "off"];
  return element("span", { className: `pill ${tone}` }, label);
}
