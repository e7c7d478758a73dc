// The page of dml review: what keys and buttons do.

import { get, post } from "./api.js";
import { completing } from "./choosing.js";
import { Queue } from "./queue.js";
import { byId, count, showCounts, showDecision, showFinding, write } from "./showing.js";

const filters = { kind: "suspects", state: "", label: "" };
const facts = await get("/api/review").catch(failed);
const queue = new Queue(facts?.pictures);
let work = Promise.resolve(); // things are done one after the other, however fast the keys are

function does(action) {
  work = work.then(action).then(() => (byId("trouble").hidden = true), failed);
  return work;
}

function failed(error) {
  write("trouble", error.message);
  byId("trouble").hidden = false;
}

// Where we are

async function show() {
  const isThere = queue.at < queue.rows.length;
  byId("finding").hidden = !isThere;
  byId("empty").hidden = isThere;
  if (!isThere) return showNothing();
  const finding = await queue.finding();
  showFinding(finding, queue);
  showDecision(queue.decided.get(finding.row));
  byId("other").value = "";
  queue.fetchAhead().catch(() => {}); // it is asked for again when it is needed
}

function showNothing() {
  const isFiltered = filters.kind !== "suspects" || filters.state || filters.label;
  write("empty", isFiltered ? "Nothing passes these filters." : "The audit has no suspects.");
}

async function load() {
  await queue.load(filters);
  const open = filters.state === "" ? queue.nextOpen(-1) : 0;
  queue.at = Math.max(open, 0);
  await show();
}

async function move(step) {
  const place = Math.min(Math.max(queue.at + step, 0), queue.rows.length - 1);
  if (place === queue.at || place < 0) return write("status", step > 0 ? "the last" : "the first");
  queue.at = place;
  await show();
}

async function nextOpen() {
  const place = queue.nextOpen();
  if (place < 0) return allDecided();
  queue.at = place;
  await show();
}

async function allDecided() {
  write("status", `All of these are decided. E saves the table, Ctrl-C in the terminal ends.`);
  await show();
}

async function goToRow(row) {
  let place = queue.rows.indexOf(row);
  if (place < 0) {
    Object.assign(filters, { kind: "all", state: "", label: "" });
    [byId("kind").value, byId("state").value, byId("class").value] = ["all", "", ""];
    await queue.load(filters);
    place = queue.rows.indexOf(row);
  }
  queue.at = place;
  await show();
}

async function jump(text) {
  const number = Number(text.replaceAll(",", ""));
  if (Number.isInteger(number) && number >= 1 && number <= queue.rows.length) {
    queue.at = number - 1;
    return show();
  }
  const { row } = await get("/api/find", { text });
  if (row === null) throw new Error(`No image has ${JSON.stringify(text)} in its id.`);
  await goToRow(row);
}

// What is decided

async function decide(decision, label = "") {
  const row = queue.row;
  if (row === undefined) return;
  const body = { row, decision, label, note: byId("note").value };
  const found = await post("/api/decide", body);
  queue.note(row, found.decision);
  showCounts(found.counts, facts.suspects);
  write("status", `Saved: ${label ? `${decision} ${label}` : decision}`);
  if (filters.state === "" || filters.state === "undecided") await nextOpen();
  else if (queue.at + 1 < queue.rows.length) await move(1);
  else await show();
}

async function relabel() {
  if (queue.row === undefined) return;
  await decide("relabel", (await queue.finding()).suggested_label);
}

async function undo() {
  const found = await post("/api/undo");
  if (found.row === null) return write("status", "Nothing to undo");
  queue.note(found.row, found.decision);
  showCounts(found.counts, facts.suspects);
  await goToRow(found.row);
  write("status", "Undone");
}

async function save() {
  const found = await post("/api/export");
  write("status", `Saved ${count(found.counts.decided)} decisions in ${found.out}`);
}

// Keys and buttons

const focus = (id) => () => {
  const box = byId(id).closest("details");
  if (box) box.open = true;
  byId(id).focus();
};
const once = {
  k: () => does(() => decide("keep")),
  r: () => does(relabel),
  d: () => does(() => decide("drop")),
  u: () => does(undo),
  e: () => does(save),
  " ": () => does(nextOpen),
  l: focus("other"),
  n: focus("note"),
  c: focus("class"),
  g: focus("jump-to"),
  "?": () => byId("keys").showModal(),
};
const repeated = {
  ArrowLeft: () => does(() => move(-1)),
  ArrowRight: () => does(() => move(1)),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("keys").open) return;
  if (event.target.closest("input, select")) {
    if (event.key === "Escape" || (event.key === "Enter" && event.target.id === "note"))
      event.target.blur();
    return;
  }
  if (event.key === " " && event.target.closest("button, summary")) return; // presses it
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const action = repeated[key] ?? (event.repeat ? undefined : once[key]);
  if (!action) return;
  event.preventDefault();
  action();
});

for (const [id, action] of Object.entries({
  keep: once.k,
  relabel: once.r,
  drop: once.d,
  undo: once.u,
  export: once.e,
  help: once["?"],
  open: once[" "],
  previous: repeated.ArrowLeft,
  next: repeated.ArrowRight,
}))
  byId(id).addEventListener("click", action);

for (const name of ["kind", "state"])
  byId(name).addEventListener("change", (event) => {
    filters[name] = event.target.value;
    event.target.blur();
    does(load);
  });

byId("jump").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = byId("jump-to");
  const text = field.value.trim();
  field.value = "";
  field.blur();
  if (text) does(() => jump(text));
});

completing(byId("other"), byId("other-list"), {
  taken: (name) => does(() => decide("relabel", name)),
  failed,
});

function chooseClass(name) {
  filters.label = name;
  does(load);
}
completing(byId("class"), byId("class-list"), {
  taken: chooseClass,
  cleared: () => chooseClass(""),
  failed,
});

function addKind(value, text) {
  const option = document.createElement("option");
  option.value = value;
  option.textContent = text;
  byId("kind").append(option);
}

const wide = matchMedia("(min-width: 36.01rem)"); // as in the style, which hides the summary then
const unfold = () => (byId("filters").open = wide.matches);
wide.addEventListener("change", unfold);
unfold();
if (facts) {
  write("title", facts.title);
  byId("title").title = facts.title; // it may be cut off
  document.title = `Review ${facts.title}`;
  byId("kind").options[0].textContent = `all suspects (${count(facts.suspects)})`;
  for (const [kind, number] of Object.entries(facts.kinds)) addKind(kind, `${kind} (${count(number)})`);
  addKind("all", `all images (${count(facts.images)})`);
  showCounts(facts.counts, facts.suspects);
  await does(load);
}
