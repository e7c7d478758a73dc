// Putting one finding onto the page. Everything from users enters as text, never as HTML.

import { LARGE, SMALL } from "./queue.js";

const EVIDENCE = {
  knn: "neighbours' labels",
  centre: "class centres",
  out_of_fold: "a classifier that has not seen it",
  dynamics: "a training with the label",
};

export const byId = (id) => document.getElementById(id);
export const count = (number) => number.toLocaleString("en");

export function write(id, text) {
  byId(id).textContent = text;
}

export function showFinding(finding, queue) {
  write("heading", `${count(queue.at + 1)} of ${count(queue.rows.length)}`);
  write("kind-of", finding.kind || "no suspect");
  write("file", finding.id);
  write("given", finding.given_label);
  write("suggested", finding.suggested_label);
  write("keep-label", finding.given_label);
  write("relabel-label", finding.suggested_label);
  write("same-label", finding.given_label);
  write("other-label", finding.suggested_label);
  const probability = Math.min(Math.round(100 * finding.p_wrong), 99); // nothing is certain
  write("p-wrong", finding.p_wrong === null ? "" : `Wrong with a probability of ${probability} %.`);
  write("reason", finding.reason);
  byId("picture").replaceChildren(picture(queue.picture(finding.row, LARGE), finding.id, LARGE));
  showNeighbours("same", finding.same_class, queue);
  showNeighbours("suggestions", finding.suggested_class, queue);
  showEvidence(finding);
}

export function showDecision(decision) {
  write("verdict", decision ? `decided: ${decision.label || decision.decision}` : "");
  byId("note").value = decision?.note ?? "";
  for (const name of ["keep", "relabel", "drop"])
    byId(name).setAttribute("aria-pressed", String(decision?.decision === name));
}

export function showCounts(counts, suspects) {
  const bar = byId("progress");
  bar.max = Math.max(suspects, 1);
  bar.value = counts.suspects;
  const parts = ["keep", "relabel", "drop"].map((name) => `${count(counts[name])} ${name}`);
  write("progress-text", `${count(counts.suspects)} of ${count(suspects)} decided`);
  write("progress-parts", parts.join(", "));
}

function picture(address, name, side) {
  // A new element: the old one would show the picture of another finding until this one has come.
  const image = document.createElement("img");
  image.alt = name;
  image.width = image.height = side;
  image.src = address;
  return image;
}

function showNeighbours(id, neighbours, queue) {
  const figures = neighbours.map((each) => {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    figure.className = "picture";
    figure.title = each.id;
    caption.textContent = each.id.split("/").at(-1);
    figure.append(picture(queue.picture(each.row, SMALL), each.id, SMALL), caption);
    return figure;
  });
  if (!figures.length) {
    const none = document.createElement("p");
    none.className = "muted small";
    none.textContent = "none";
    figures.push(none);
  }
  byId(id).replaceChildren(...figures);
}

function showEvidence(finding) {
  const known = Object.keys(EVIDENCE).filter((name) => finding[name] !== null);
  const lines = known.flatMap((name) => {
    const [term, value] = [document.createElement("dt"), document.createElement("dd")];
    const bar = document.createElement("meter");
    term.textContent = EVIDENCE[name];
    bar.value = finding[name];
    bar.setAttribute("aria-label", EVIDENCE[name]);
    value.append(bar, finding[name].toFixed(2));
    return [term, value];
  });
  byId("evidence").replaceChildren(...lines);
}
