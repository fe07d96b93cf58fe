// The criteria of the grades with example pictures, in the help.

// Fills a section with each grade's name and criterion, as its button has them, and its examples.
export async function showCriteria(section, buttons) {
  if (section.childElementCount) return;
  const rows = Array.from(buttons, (button) => buildRow(button));
  section.replaceChildren(...rows);
  const answer = await fetch("examples").then((reply) => reply.json()).catch(() => null);
  for (const [number, { grade, text }] of (answer?.examples ?? []).entries()) {
    const figure = document.createElement("figure");
    const image = new Image();
    image.src = `example/${number}`;
    image.alt = `Example of ${grade}`;
    const caption = document.createElement("figcaption");
    caption.textContent = text;
    figure.append(image, caption);
    rows["ABCD".indexOf(grade)].lastChild.append(figure);
  }
}

function buildRow(button) {
  const row = document.createElement("div");
  const title = document.createElement("h3");
  title.textContent = button.textContent;
  title.className = `grade ${button.dataset.grade}`;
  const criterion = document.createElement("p");
  criterion.textContent = `${button.title}.`;
  const examples = document.createElement("div");
  examples.className = "examples";
  row.append(title, criterion, examples);
  return row;
}
