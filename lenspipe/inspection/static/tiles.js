// Tiles of the grid: an image, its grade, a button for each grade. Panels beside the large image.

export function buildTile(entry, { show, open, grade }) {
  const tile = element("div", "tile");
  tile.setAttribute("role", "group");
  tile.setAttribute("aria-busy", "true"); // until its image is painted
  const picture = element("div", "picture");
  const canvas = document.createElement("canvas");
  canvas.setAttribute("aria-hidden", "true");
  picture.append(canvas, element("span", "flags", entry.flags), element("span", "given"), element("span", "label"), element("p", "note"));
  picture.addEventListener("click", show);
  picture.addEventListener("dblclick", open);
  const choices = element("div", "choices");
  for (const letter of "ABCD") {
    const button = element("button", "", letter);
    button.type = "button";
    button.tabIndex = -1;
    button.setAttribute("aria-label", `Grade ${letter}`);
    button.addEventListener("click", (event) => grade(letter, event));
    choices.append(button);
  }
  tile.append(picture, choices);
  return tile;
}

export function markTile(tile, number, { grade, name, flags, tags, comment }, current) {
  const words = [`${number}: ${name}`, flags, grade && `graded ${grade}`, ...tags, comment && "has a comment"];
  tile.tabIndex = current ? 0 : -1;
  tile.setAttribute("aria-current", current);
  tile.setAttribute("aria-label", words.filter(Boolean).join(", "));
  tile.classList.toggle("graded", Boolean(grade));
  // The letters before a position would leave no room for its end.
  tile.querySelector(".label").textContent = `${number}  ${name.replace(/^[A-Z]+-(?=\d+\.)/, "")}`;
  const given = tile.querySelector(".given");
  given.className = `given ${grade}`;
  given.textContent = grade;
}

// Text in the place of an image that is not there: while it is loaded, or when it cannot be.
export function showNote(note, text, failed = false) {
  note.textContent = text;
  note.classList.toggle("failed", failed);
}

export function buildPanel() {
  const figure = document.createElement("figure");
  const canvas = document.createElement("canvas");
  canvas.setAttribute("role", "img");
  figure.append(canvas, element("figcaption", ""));
  return figure;
}

function element(kind, className, text = "") {
  const result = document.createElement(kind);
  result.className = className;
  result.textContent = text;
  return result;
}
