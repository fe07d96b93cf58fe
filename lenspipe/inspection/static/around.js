// Panels around a candidate: a wider field, and other surveys. They are loaded only while they are
// open, two at a time, and given up when another candidate is shown: votes and the next images
// never wait for them.

import { blank, paint } from "./pictures.js";
import { buildPanel, showNote } from "./tiles.js";

const DELAY_MS = 250, AT_ONCE = 2, MAX_IMAGES = 60;

export class Around {
  constructor(container, panels, look) {
    this.panels = panels.map((panel, number) => ({ ...panel, number, figure: buildPanel() }));
    this.look = look;
    this.images = new Map(); // address -> image
    for (const { figure, title } of this.panels) {
      figure.lastChild.textContent = title;
      figure.firstChild.setAttribute("aria-label", `${title}, North up, East left`);
      const note = document.createElement("p");
      note.className = "note";
      figure.append(note);
    }
    container.replaceChildren(...this.panels.map(({ figure }) => figure));
  }

  close() { this.abort?.abort(); }

  // Shows what lies around the candidate at a place of the list.
  async show(place, { stretch, gain }) {
    this.close();
    const { signal } = (this.abort = new AbortController());
    const missing = [];
    for (const panel of this.panels) {
      const address = `around/${place}/${panel.number}?stretch=${stretch}&gain=${gain.toFixed(4)}`;
      const image = this.images.get(address);
      if (image) { this.use(panel, image); continue; }
      panel.figure.dataset.place = "";
      blank(panel.figure.firstChild);
      showNote(panel.figure.lastChild, "Loading");
      missing.push({ panel, address, place });
    }
    if (missing.length) await new Promise((resolve) => setTimeout(resolve, DELAY_MS));
    const work = async () => {
      for (let next; !signal.aborted && (next = missing.shift());) await this.load(next, signal);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  }

  async load({ panel, address, place }, signal) {
    let problem = "The portal does not answer.";
    try {
      const answer = await fetch(address, { signal });
      if (answer.ok) {
        const image = await createImageBitmap(await answer.blob());
        this.images.set(address, image);
        if (this.images.size > MAX_IMAGES) this.images.delete(this.images.keys().next().value);
        if (!signal.aborted) this.use(panel, image);
        problem = "";
      } else problem = (await answer.json()).error;
    } catch (error) {
      if (!signal.aborted) console.warn(error);
    }
    if (signal.aborted) return;
    panel.figure.dataset.place = place;
    showNote(panel.figure.lastChild, problem, Boolean(problem));
  }

  use({ figure, side, cutout }, image) {
    const canvas = figure.firstChild;
    paint(canvas, image, 0, { pixel: side / image.height, zoom: 0, x: 0, y: 0 });
    if (side > 1.01 * cutout) outline(canvas, cutout / side);
    this.look(canvas);
    showNote(figure.lastChild, "");
  }
}

// The field of the cutout within a wider one.
function outline(canvas, fraction) {
  const context = canvas.getContext("2d");
  const side = Math.round(fraction * canvas.width), first = Math.round((canvas.width - side) / 2);
  context.strokeStyle = "#f2f2f290";
  context.lineWidth = Math.max(1, devicePixelRatio);
  context.strokeRect(first, first, side, side);
}
