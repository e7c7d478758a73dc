// A text field that completes the name of a class: arrows choose, Enter takes, Escape leaves.
// It is a combobox with a list, as the ARIA authoring practices describe it.

import { get } from "./api.js";

export function completing(input, list, { taken, cleared = () => {}, failed }) {
  let names = [];
  let chosen = -1;
  let asked = 0; // an answer that comes late is not shown
  let coming = Promise.resolve(); // keys wait for the list of what was typed before them

  input.setAttribute("role", "combobox");
  input.setAttribute("aria-autocomplete", "list");
  input.setAttribute("aria-controls", list.id);
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "classes");
  close();

  function close() {
    asked += 1;
    names = [];
    chosen = -1;
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  async function complete() {
    const number = ++asked;
    try {
      const found = await get("/api/classes", { text: input.value });
      if (number === asked) show(found);
    } catch (error) {
      failed(error);
    }
  }

  function show(found) {
    names = found.map((each) => each.name);
    list.replaceChildren(...found.map(option));
    list.hidden = names.length === 0;
    input.setAttribute("aria-expanded", String(names.length > 0));
    mark(names.length > 0 && input.value ? 0 : -1);
    list.scrollIntoView({ block: "nearest" });
  }

  function option({ name, suspects }, at) {
    const item = document.createElement("li");
    const count = document.createElement("span");
    item.id = `${list.id}-${at}`;
    item.setAttribute("role", "option");
    count.className = "muted small";
    count.textContent = suspects.toLocaleString("en");
    count.title = "suspects with this label";
    item.append(name, " ", count);
    item.addEventListener("pointerdown", (event) => {
      event.preventDefault(); // the field keeps the focus
      take(name);
    });
    return item;
  }

  function mark(at) {
    chosen = at;
    for (const [place, item] of [...list.children].entries()) {
      item.setAttribute("aria-selected", String(place === at));
      if (place === at) item.scrollIntoView({ block: "nearest" });
    }
    if (at < 0) input.removeAttribute("aria-activedescendant");
    else input.setAttribute("aria-activedescendant", `${list.id}-${at}`);
  }

  function take(name) {
    close();
    input.value = name;
    input.blur();
    taken(name);
  }

  function enter() {
    if (!input.value) {
      close();
      input.blur();
      cleared();
    } else if (chosen >= 0) take(names[chosen]);
    else failed(new Error(`No class has ${JSON.stringify(input.value)} in its name.`));
  }

  input.addEventListener("input", () => (coming = complete()));
  input.addEventListener("focus", () => {
    input.select();
    coming = complete();
  });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", async (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const isEnter = event.key === "Enter" && !event.isComposing;
    if (!step && !isEnter) return;
    event.preventDefault();
    await coming;
    if (isEnter) enter();
    else if (names.length) mark((chosen + step + names.length) % names.length);
  });
}
