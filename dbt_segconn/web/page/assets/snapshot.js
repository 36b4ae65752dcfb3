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
const state = { snapshot: frozen, read: "", stamp: null, filter: "", status: "", all: new Set(), view: "", calls: null, preview: null };

const mappingOf = (id) => state.snapshot.mappings.find((one) => one.id === id);
const syncsOf = (id) => state.snapshot.syncs.filter((one) => one.mapping_id === id);
const statusOf = (mapping) => syncsOf(mapping.id)[0]?.status ?? "never";
const linkTo = (kind, id) => `#/${kind}/${encodeURIComponent(id)}`;

function changes(sync) {
  return KINDS.map((kind) => `${number(sync[kind])} ${kind}`).join(", ");
}
