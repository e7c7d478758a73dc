// Which findings are gone through, and where the person is among them. Only the findings around
// this place are fetched, a page at a time; the pictures of the next ones are fetched ahead.

import { get } from "./api.js";

const PAGE = 25; // findings fetched at once
const AHEAD = 3; // findings whose pictures are fetched ahead
const KEPT = 40; // pages of findings that stay in memory
export const SMALL = 160;
export const LARGE = 640;

export class Queue {
  rows = [];
  at = 0;
  decided = new Map(); // row -> {decision, label, note}, of all rows and not only of these
  #pages = new Map();
  #pictures;
  #ahead = [];

  constructor(pictures) {
    this.#pictures = pictures;
  }

  async load(filters) {
    const found = await get("/api/queue", filters);
    this.rows = found.rows;
    this.decided = new Map(Object.entries(found.decided).map(([row, each]) => [Number(row), each]));
    this.at = 0;
    this.#pages.clear();
  }

  get row() {
    return this.rows[this.at];
  }

  note(row, decision) {
    if (decision) this.decided.set(row, decision);
    else this.decided.delete(row);
  }

  // The next place after this one that is not decided, from the start again after the end; or -1.
  nextOpen(after = this.at) {
    const isOpen = (place) => !this.decided.has(this.rows[place]);
    for (let place = after + 1; place < this.rows.length; place++) if (isOpen(place)) return place;
    for (let place = 0; place <= after && place < this.rows.length; place++)
      if (isOpen(place)) return place;
    return -1;
  }

  async finding(place = this.at) {
    const page = await this.#page(Math.floor(place / PAGE));
    return page[place % PAGE];
  }

  picture(row, side) {
    return `${this.#pictures}/${row}/${side}`;
  }

  async fetchAhead() {
    const last = Math.min(this.at + AHEAD, this.rows.length - 1);
    const images = [];
    for (let place = this.at + 1; place <= last; place++) {
      const finding = await this.finding(place);
      images.push(this.#image(finding.row, LARGE));
      for (const each of [...finding.same_class, ...finding.suggested_class])
        images.push(this.#image(each.row, SMALL));
    }
    this.#ahead = images; // what nobody holds may be thrown away before it has come
  }

  #image(row, side) {
    const image = new Image();
    image.fetchPriority = "low";
    image.src = this.picture(row, side);
    return image;
  }

  #page(number) {
    if (!this.#pages.has(number)) {
      const rows = this.rows.slice(number * PAGE, (number + 1) * PAGE);
      const page = get("/api/findings", { rows: rows.join(",") });
      page.catch(() => this.#pages.delete(number)); // to be asked for again
      this.#pages.set(number, page);
      if (this.#pages.size > KEPT) this.#pages.delete(this.#pages.keys().next().value);
    }
    return this.#pages.get(number);
  }
}
