// Images: fetched in advance and kept decoded; drawn with a scale bar and compass.

const MAX_IMAGES = 400, RETRY_MS = 2000;

export class Pictures {
  constructor(currentView) {
    this.currentView = currentView;
    this.images = new Map();
  }

  fetch(place) {
    const { show, stretch, gain } = this.currentView();
    const address = `image/${place}?show=${show}&stretch=${stretch}&gain=${gain.toFixed(4)}`;
    let entry = this.images.get(address);
    if (!entry) {
      const image = new Image();
      entry = { image, ready: false };
      image.src = address;
      entry.loaded = image.decode().then(() => (entry.ready = true), () => this.images.delete(address));
      entry.address = address;
    }
    // Recently requested images are dropped last.
    this.images.delete(address);
    this.images.set(address, entry);
    if (this.images.size > MAX_IMAGES) this.images.delete(this.images.keys().next().value);
    return entry;
  }

  prefetch(places) { for (const place of places) if (place !== undefined) this.fetch(place); }

  // Calls `use` with the image, at once if it is loaded. If it cannot be loaded, calls `fail` with
  // the server's message, or with none if the server does not answer: then it is asked again while
  // the image is `wanted`.
  get(place, { use, fail, wanted }) {
    const entry = this.fetch(place);
    if (entry.ready) return use(entry.image);
    entry.loaded.then(async () => {
      if (entry.ready) return use(entry.image);
      const answer = await fetch(entry.address).catch(() => null);
      const refused = answer && !answer.ok && answer.status < 500;
      const problem = refused && (await answer.json().catch(() => null))?.error;
      if (!wanted()) return;
      if (!answer?.ok) fail(problem);
      if (!problem) setTimeout(() => wanted() && this.get(place, { use, fail, wanted }), RETRY_MS);
    });
  }
}

export function blank(canvas) {
  canvas.getContext("2d").fillRect(0, 0, canvas.width, canvas.height);
}

// Contrast about the level of the sky, which stays as it is: brightness() multiplies, contrast()
// does so about 1/2, and together they make factor * value + (1 - factor) * sky.
export function filterOf({ contrast, invert }, sky) {
  const factor = 1.15 ** contrast;
  const about = 1 - 2 * sky * (1 - factor);
  const inverted = invert ? " invert(1) hue-rotate(180deg)" : "";
  return `brightness(${(factor / about).toFixed(4)}) contrast(${about.toFixed(4)})${inverted}`;
}

// Part 0 of a strip is the large image, followed by the bands and what else could be large.
export function paint(canvas, image, part, { pixel, zoom, x, y, tile = false }) {
  const size = image.height;
  const side = Math.round(canvas.clientWidth * devicePixelRatio) || size;
  if (canvas.width !== side) canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  const field = size / 1.2 ** zoom;
  const edge = (offset) => Math.max(0, Math.min(size - field, (size - field) / 2 + offset * size));
  context.imageSmoothingQuality = "high";
  context.fillRect(0, 0, side, side);
  if ((part + 1) * size > image.width) return;
  context.drawImage(image, part * size + edge(x), edge(y), field, field, 0, 0, side, side);
  if (pixel) mark(context, side, (pixel * field) / side, tile);
}

// Scale bar at the lower left, on a tile above its name; North and East at the upper right.
function mark(context, side, arcsec, tile) {
  const bar = [10, 5, 2, 1].find((length) => length / arcsec < side / 4) ?? 0.5;
  const unit = tile ? 0.75 * devicePixelRatio : Math.min(side / 600, 1.4 * devicePixelRatio);
  const [left, bottom] = [(tile ? 8 : 16) * unit, side - (tile ? 32 : 16) * unit];
  const [right, top, arm] = [side - 18 * unit, 30 * unit, 32 * unit];
  context.font = `${Math.round(15 * unit)}px system-ui, "DejaVu Sans", sans-serif`;
  context.lineCap = "round";
  const length = bar / arcsec;
  const compass = tile ? "" : `M${right} ${top}v${arm}h${-arm}`;
  const lines = new Path2D(`M${left} ${bottom}h${length}${compass}`);
  for (const [colour, width] of [["#000", 5 * unit], ["#f2f2f2", 2 * unit]]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.stroke(lines);
  }
  const texts = [[`${bar}"`, left + length / 2, bottom - 8 * unit, "center"],
    ["N", right, top - 7 * unit, "center"], ["E", right - arm - 8 * unit, top + arm + 5 * unit, "right"]];
  for (const [text, x, y, align] of tile ? texts.slice(0, 1) : texts) {
    context.textAlign = align;
    context.lineWidth = 4 * unit;
    context.strokeStyle = "#000";
    context.strokeText(text, x, y);
    context.fillStyle = "#f2f2f2";
    context.fillText(text, x, y);
  }
  context.fillStyle = "#000";
}
