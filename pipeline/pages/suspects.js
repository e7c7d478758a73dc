// The page of suspects: cards are made when they are looked at; texts enter as text, never as HTML.

const PER_PAGE = 20;
const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const known = new Set(data.classes);
let decisions = stored();
let first = 0; // place of the first card among those that pass the filters

// Decisions

function stored() {
  try {
    return new Map(JSON.parse(localStorage.getItem(data.key) || "[]"));
  } catch {
    return new Map();
  }
}

function keepInBrowser() {
  try {
    localStorage.setItem(data.key, JSON.stringify([...decisions]));
    trouble("");
  } catch {
    trouble("This browser keeps nothing for this page: download the decisions before you leave it.");
  }
}

function decide(suspect, decision, label, note) {
  const before = decisions.get(suspect.id);
  const isSame = before && before.decision === decision && before.label === label;
  if (isSame && before.note === note) decisions.delete(suspect.id); // the same button again undoes
  else decisions.set(suspect.id, { decision, label, note });
  keepInBrowser();
}

function asCsv() {
  const rows = [["id", "decision", "label", "note"]];
  for (const suspect of data.suspects) {
    const found = decisions.get(suspect.id);
    if (found) rows.push([suspect.id, found.decision, found.label, found.note]);
  }
  const cell = (text) => (/[",\r\n]|^\s*$/.test(text) && text ? `"${text.replaceAll('"', '""')}"` : text);
  return rows.map((row) => row.map(cell).join(",") + "\n").join("");
}

function download() {
  const link = make("a", { download: "decisions.csv" });
  link.href = URL.createObjectURL(new Blob([asCsv()], { type: "text/csv" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// Cards

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function picture(id, caption) {
  const image = make("img", { alt: caption, title: id, loading: "lazy", decoding: "async" });
  image.src = data.pictures[id];
  return make("figure", { className: "picture" }, image, make("figcaption", {}, caption));
}

function side(title, label, ids) {
  const shown = ids.filter((id) => id in data.pictures);
  const nothing = make("p", { className: "muted small" }, ids.length ? "no pictures here" : "none");
  const pictures = make("div", { className: "pictures" }, ...shown.map((id) => picture(id, name(id))));
  const heading = make("h3", {}, `${title}: ${label || "none"}`);
  return make("section", {}, heading, shown.length ? pictures : nothing);
}

function name(id) {
  return id.split("/").pop();
}

function card(suspect) {
  const rank = make("span", { className: "muted" }, `${suspect.rank}. `);
  const share = suspect.p > 0.99 ? "over 99" : Math.round(100 * suspect.p); // nothing is certain
  const kind = suspect.kind === "wrong label" ? [] : [suspect.kind];
  const facts = [`${share} % likely wrong`, ...kind, suspect.reason].join(" · ");
  const head = make("header", {}, make("h2", {}, rank, suspect.path), make("p", { className: "small" }, facts));
  const own = data.pictures[suspect.id]
    ? picture(suspect.id, suspect.given)
    : make("p", { className: "muted small" }, "no picture: it is beyond those that this page holds");
  const sides = make("div", { className: "sides" });
  sides.append(side("Given", suspect.given, suspect.same));
  sides.append(side("Fits better", suspect.suggested, suspect.other));
  const article = make("article", { className: "card suspect" }, head, own, sides);
  article.append(choices(suspect, article));
  return article;
}

function choices(suspect, article) {
  const before = decisions.get(suspect.id);
  const label = make("input", { value: (before && before.label) || suspect.suggested });
  const note = make("input", { value: (before && before.note) || "", placeholder: "note" });
  label.setAttribute("list", "classes");
  label.setAttribute("aria-label", "New label");
  note.setAttribute("aria-label", "Note");
  const buttons = ["keep", "relabel", "drop"].map((decision) => {
    const button = make("button", { type: "button" }, decision[0].toUpperCase() + decision.slice(1));
    button.dataset.decision = decision;
    button.addEventListener("click", () => {
      if (decision === "relabel" && !label.value.trim()) return label.focus();
      decide(suspect, decision, decision === "relabel" ? label.value : "", note.value);
      update();
    });
    return button;
  });
  note.addEventListener("change", () => {
    const found = decisions.get(suspect.id);
    if (!found) return;
    decisions.set(suspect.id, { ...found, note: note.value });
    keepInBrowser();
  });
  label.addEventListener("change", () => {
    const found = decisions.get(suspect.id);
    if (!found || found.decision !== "relabel" || !label.value.trim()) return;
    decisions.set(suspect.id, { ...found, label: label.value });
    keepInBrowser();
    update();
  });
  const said = make("span", { className: "small" });
  function update() {
    const found = decisions.get(suspect.id);
    article.dataset.decision = found ? found.decision : "";
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(article.dataset.decision === button.dataset.decision));
    }
    const isNew = found && found.decision === "relabel" && !known.has(found.label);
    said.textContent = isNew ? "a new class: apply with --new-classes" : "";
    showProgress();
  }
  const [keep, relabel, drop] = buttons;
  update();
  return make("div", { className: "choices screen-only" }, keep, relabel, label, drop, note, said);
}

// The list

function passing() {
  const [ofClass, kind, state] = ["of-class", "of-kind", "of-state"].map((id) => byId(id).value);
  return data.suspects.filter(
    (suspect) =>
      (!ofClass || suspect.given === ofClass) &&
      (!kind || suspect.kind === kind) &&
      (!state || decisions.has(suspect.id) === (state === "done")),
  );
}

function show() {
  const found = passing();
  first = Math.min(first, Math.max(0, PER_PAGE * (Math.ceil(found.length / PER_PAGE) - 1)));
  const cards = found.slice(first, first + PER_PAGE).map(card);
  byId("list").replaceChildren(...(cards.length ? cards : [make("p", {}, "Nothing passes these filters.")]));
  const last = Math.min(first + PER_PAGE, found.length);
  byId("place").textContent = found.length ? `${first + 1} to ${last} of ${found.length}` : "";
  byId("back").disabled = first === 0;
  byId("on").disabled = last >= found.length;
  showProgress();
}

function showProgress() {
  byId("progress").textContent = `${decisions.size} of ${data.suspects.length} decided`;
}

function turn(by) {
  first = Math.max(0, first + by);
  show();
  scrollTo(0, 0);
}

function trouble(text) {
  byId("trouble").textContent = text;
  byId("trouble").hidden = !text;
}

function option(text) {
  return make("option", { value: text }, text);
}

byId("of-class").append(...[...new Set(data.suspects.map((each) => each.given))].sort().map(option));
byId("of-kind").append(...[...new Set(data.suspects.map((each) => each.kind))].sort().map(option));
byId("classes").append(...data.classes.map((text) => make("option", { value: text })));
for (const id of ["of-class", "of-kind", "of-state"]) {
  byId(id).addEventListener("change", () => {
    first = 0;
    show();
  });
}
byId("back").addEventListener("click", () => turn(-PER_PAGE));
byId("on").addEventListener("click", () => turn(PER_PAGE));
byId("download").addEventListener("click", download);
byId("clear").addEventListener("click", () => {
  if (!confirm("Forget all decisions of this page?")) return;
  decisions = new Map();
  keepInBrowser();
  show();
});
addEventListener("storage", (event) => {
  if (event.key !== data.key) return; // the same page in another tab
  decisions = stored();
  show();
});
show();
